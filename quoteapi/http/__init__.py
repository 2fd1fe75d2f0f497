"""Everything that knows Falcon."""

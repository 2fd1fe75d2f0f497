"""Request log, logging set-up and redaction."""

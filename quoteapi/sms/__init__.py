"""SMS: texts, segments and gateways."""

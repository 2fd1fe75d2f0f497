"""The HTTP resources: a responder parses, calls one domain function, and sets status and media."""

"""Quotations: validation, daily schedule, random pool, fallback, import, export and upstream API."""

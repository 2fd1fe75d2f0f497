"""Quotations: validation, daily schedule, random pool, fallback, import and export, and the upstream API."""

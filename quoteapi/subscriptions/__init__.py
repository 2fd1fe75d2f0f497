"""Subscriptions to the daily SMS."""

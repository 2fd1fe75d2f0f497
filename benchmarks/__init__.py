"""Measurements, as ratios. They are not part of the service."""

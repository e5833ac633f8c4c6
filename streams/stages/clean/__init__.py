"""Readings that can't be trusted are flagged, one rule a module."""

"""Readings that come too far from the one before."""

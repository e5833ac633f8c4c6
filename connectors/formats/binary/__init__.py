"""Bytes at fixed places."""

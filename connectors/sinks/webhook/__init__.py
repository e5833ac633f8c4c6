"""Notifications by HTTP, a request each."""

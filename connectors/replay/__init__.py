"""Recorded data published over MQTT as if it were measured now."""

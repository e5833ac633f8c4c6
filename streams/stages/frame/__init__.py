"""From readings to windows."""

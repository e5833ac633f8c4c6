"""Messages from an MQTT broker."""

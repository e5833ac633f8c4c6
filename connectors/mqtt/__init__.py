"""The MQTT edge: reading what devices publish, and publishing results back to them."""

"""The newest anomaly of each device, back to the plant."""

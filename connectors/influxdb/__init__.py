"""The uplink to InfluxDB."""

"""The gateway's own store of points, for boxes without an InfluxDB in reach."""

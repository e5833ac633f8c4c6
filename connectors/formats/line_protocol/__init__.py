"""InfluxDB's line protocol: fields of a measurement, with tags and a time."""

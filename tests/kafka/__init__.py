"""A real Apache Kafka for the tests: the broker's own jars, one KRaft node on loopback."""

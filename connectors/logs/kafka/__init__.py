"""The log on Apache Kafka, for gateways with room for it and for more than one machine."""

"""SenML: lists of measurements with names, values and times (RFC 8428)."""

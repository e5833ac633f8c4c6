"""A fleet of simulated pumps that publish over real MQTT: for the demo, tests and training data."""

"""Scores become anomalies."""

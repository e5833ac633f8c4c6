"""Sensors judged by their closed windows."""

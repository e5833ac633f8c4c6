"""Tests of ``headgate.testing``."""

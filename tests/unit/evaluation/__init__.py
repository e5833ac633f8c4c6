"""Tests of ``headgate.evaluation``."""

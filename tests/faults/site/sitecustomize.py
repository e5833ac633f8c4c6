"""Loaded by Python before anything else in a process whose path begins with this folder."""

from tests.faults import inside

inside.install()

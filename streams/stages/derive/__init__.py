"""Derived channels: values that no device sends, worked out from those that some do."""

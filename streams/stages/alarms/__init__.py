"""Alarms of what other stages have found, and what alarms say.

Those of conditions are worked out in ``streams.stages.derive.rule``, where derived channels are.
"""

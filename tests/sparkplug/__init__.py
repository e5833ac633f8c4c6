"""Edge nodes that somebody else has written: pysparkplug, in an environment of its own.

It needs an MQTT client of an earlier major version than the gateway has, so the two can't be
installed together.
"""

"""The sources that come with Headgate, by the name that ``[source.NAME] type`` is given.

One more is a folder beside these and a line here; see ``connectors.sources.source`` for what is in
it.
"""

from __future__ import annotations

BUILT_IN = {
    "gateway": "connectors.sources.gateway.component:GATEWAY",
    "mqtt": "connectors.sources.mqtt.component:MQTT",
}

#: Tables that a plain configuration has, each with its type: a source that is called as the table
#: is.
FORMER_TABLES = {"mqtt": "mqtt"}

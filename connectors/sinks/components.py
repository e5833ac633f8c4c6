"""The sinks that come with Headgate, by the name that ``[sink.NAME] type`` is given.

One more is a folder beside these and a line here; see ``connectors.sinks.sink`` for what is in it.
"""

from __future__ import annotations

BUILT_IN = {
    "apprise": "connectors.sinks.apprise.component:APPRISE",
    "file": "connectors.sinks.file.component:FILE",
    "influxdb": "connectors.sinks.influxdb.component:INFLUXDB",
    "local_store": "connectors.sinks.local_store.component:LOCAL_STORE",
    "mqtt": "connectors.sinks.mqtt.component:MQTT",
    "webhook": "connectors.sinks.webhook.component:WEBHOOK",
}

#: Tables of earlier versions, each with its type: a sink that is called as the table is.
FORMER_TABLES = {"influxdb": "influxdb", "local_store": "local_store"}

#: Flags that are on by default, each with its type: a sink that is called as the type is.
FORMER_FLAGS = {("mqtt", "publish_anomalies"): "mqtt"}

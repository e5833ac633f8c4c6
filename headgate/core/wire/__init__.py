"""How records of the log's topics are written: Arrow IPC streams, LZ4 compressed.

Any Kafka consumer with Arrow can read them; ``docs/formats.md`` is the description for such
readers. Every record carries the headers ``schema`` (its kind and version) and ``feed`` or
nothing. A reader refuses a version it does not know instead of guessing, and bytes that are not
what they should be, with DataError: whatever stands in a log, no reader crashes on it.
"""

from __future__ import annotations

from headgate.core.wire.keys import KeyGroup, KeyRows
from headgate.core.wire.messages import QuarantinedMessage, decode_messages, encode_messages
from headgate.core.wire.readings import (
    RejectedReadings,
    decode_readings,
    decode_rejected,
    encode_readings,
    encode_rejected,
)
from headgate.core.wire.records import (
    aggregates_record,
    aggregates_records,
    anomalies_record,
    anomalies_records,
    health_record,
    health_records,
    messages_record,
    messages_records,
    part_of,
    readings_record,
    readings_records,
    rejected_record,
    rejected_records,
)
from headgate.core.wire.results import (
    decode_aggregates,
    decode_anomalies,
    decode_health,
    encode_aggregates,
    encode_anomalies,
    encode_health,
)
from headgate.core.wire.schemas import (
    AGGREGATES_SCHEMA,
    ANOMALIES_SCHEMA,
    HEALTH_SCHEMA,
    MESSAGES_SCHEMA,
    OLD_ANOMALIES_SCHEMAS,
    OLD_HEALTH_SCHEMA,
    READINGS_SCHEMA,
    REJECTED_PART_SCHEMA,
    REJECTED_SCHEMA,
    check_schema,
    schema_of,
)

__all__ = [
    "AGGREGATES_SCHEMA",
    "ANOMALIES_SCHEMA",
    "HEALTH_SCHEMA",
    "MESSAGES_SCHEMA",
    "OLD_ANOMALIES_SCHEMAS",
    "OLD_HEALTH_SCHEMA",
    "READINGS_SCHEMA",
    "REJECTED_PART_SCHEMA",
    "REJECTED_SCHEMA",
    "KeyGroup",
    "KeyRows",
    "QuarantinedMessage",
    "RejectedReadings",
    "aggregates_record",
    "aggregates_records",
    "anomalies_record",
    "anomalies_records",
    "check_schema",
    "decode_aggregates",
    "decode_anomalies",
    "decode_health",
    "decode_messages",
    "decode_readings",
    "decode_rejected",
    "encode_aggregates",
    "encode_anomalies",
    "encode_health",
    "encode_messages",
    "encode_readings",
    "encode_rejected",
    "health_record",
    "health_records",
    "messages_record",
    "messages_records",
    "part_of",
    "readings_record",
    "readings_records",
    "rejected_record",
    "rejected_records",
    "schema_of",
]

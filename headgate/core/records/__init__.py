"""How records of the log's topics are written: Arrow IPC streams, LZ4 compressed.

Any Kafka consumer with Arrow can read them; ``docs/formats.md`` is the description for such
readers. Every record carries the headers ``schema`` (its kind and version) and ``feed`` or
nothing. A reader refuses a version it does not know instead of guessing, and bytes that are not
what they should be, with DataError: whatever stands in a log, no reader crashes on it.
"""

from __future__ import annotations

from collections.abc import Mapping

from headgate.core.errors import DataError
from headgate.core.log import Headers
from headgate.core.records import (
    aggregates,
    alarm_notes,
    alarms,
    anomalies,
    availability,
    changes,
    commands,
    health,
    held,
    messages,
    readings,
    rejected,
    retried,
    states,
)
from headgate.core.records.aggregates import (
    AGGREGATES_SCHEMA,
    AGGREGATES_SCHEMAS,
    COUNT_AGGREGATES_SCHEMA,
    TEXT_AGGREGATES_SCHEMA,
    aggregates_record,
    aggregates_records,
    decode_aggregates,
    derived_in,
    encode_aggregates,
)
from headgate.core.records.alarm_notes import (
    ALARM_NOTES_SCHEMA,
    ALARM_NOTES_SCHEMAS,
    OLD_ALARM_NOTES_SCHEMA,
    alarm_notes_record,
    alarm_notes_records,
    decode_alarm_notes,
    encode_alarm_notes,
)
from headgate.core.records.alarms import (
    ALARMS_SCHEMA,
    alarms_record,
    alarms_records,
    decode_alarms,
    encode_alarms,
)
from headgate.core.records.anomalies import (
    ANOMALIES_SCHEMA,
    OLD_ANOMALIES_SCHEMAS,
    anomalies_record,
    anomalies_records,
    decode_anomalies,
    encode_anomalies,
)
from headgate.core.records.availability import (
    AVAILABILITY_SCHEMA,
    availability_records,
    decode_availability,
    encode_availability,
)
from headgate.core.records.changes import (
    CHANGES_SCHEMA,
    changes_record,
    changes_records,
    decode_changes,
    encode_changes,
)
from headgate.core.records.commands import (
    COMMANDS_SCHEMA,
    commands_record,
    commands_records,
    decode_commands,
    encode_commands,
)
from headgate.core.records.health import (
    HEALTH_SCHEMA,
    OLD_HEALTH_SCHEMA,
    decode_health,
    encode_health,
    health_record,
    health_records,
)
from headgate.core.records.held import HELD_SCHEMA, held_records
from headgate.core.records.keys import KeyGroup, KeyRows
from headgate.core.records.kind import RecordKind, check_schema, schema_of
from headgate.core.records.messages import (
    MESSAGES_SCHEMA,
    OLD_MESSAGES_SCHEMA,
    QuarantinedMessage,
    decode_messages,
    encode_messages,
    messages_record,
    messages_records,
)
from headgate.core.records.readings import (
    READINGS_SCHEMA,
    READINGS_SCHEMAS,
    TEXT_READINGS_SCHEMA,
    decode_readings,
    encode_readings,
    readings_record,
    readings_records,
)
from headgate.core.records.rejected import (
    REJECTED_PART_SCHEMA,
    REJECTED_SCHEMA,
    REJECTED_SCHEMAS,
    TEXT_REJECTED_SCHEMA,
    RejectedReadings,
    decode_rejected,
    encode_rejected,
    part_of,
    rejected_record,
    rejected_records,
)
from headgate.core.records.retried import (
    RETRIED_HEADER,
    RETRIED_SCHEMA,
    Place,
    RetriedMessage,
    decode_retried,
    encode_retried,
    from_header,
    is_retried,
    retried_from,
    retried_records,
)
from headgate.core.records.states import (
    STATES_SCHEMA,
    decode_states,
    encode_states,
    states_record,
    states_records,
)

__all__ = [
    "AGGREGATES_SCHEMA",
    "AGGREGATES_SCHEMAS",
    "ALARMS_SCHEMA",
    "ALARM_NOTES_SCHEMA",
    "ALARM_NOTES_SCHEMAS",
    "ANOMALIES_SCHEMA",
    "AVAILABILITY_SCHEMA",
    "CHANGES_SCHEMA",
    "COMMANDS_SCHEMA",
    "COUNT_AGGREGATES_SCHEMA",
    "HEALTH_SCHEMA",
    "HELD_SCHEMA",
    "KINDS",
    "MESSAGES_SCHEMA",
    "OLD_ALARM_NOTES_SCHEMA",
    "OLD_ANOMALIES_SCHEMAS",
    "OLD_HEALTH_SCHEMA",
    "OLD_MESSAGES_SCHEMA",
    "READINGS_SCHEMA",
    "READINGS_SCHEMAS",
    "REJECTED_PART_SCHEMA",
    "REJECTED_SCHEMA",
    "REJECTED_SCHEMAS",
    "RETRIED_HEADER",
    "RETRIED_SCHEMA",
    "STATES_SCHEMA",
    "TEXT_AGGREGATES_SCHEMA",
    "TEXT_READINGS_SCHEMA",
    "TEXT_REJECTED_SCHEMA",
    "KeyGroup",
    "KeyRows",
    "Place",
    "QuarantinedMessage",
    "RecordKind",
    "RejectedReadings",
    "RetriedMessage",
    "aggregates_record",
    "aggregates_records",
    "alarm_notes_record",
    "alarm_notes_records",
    "alarms_record",
    "alarms_records",
    "anomalies_record",
    "anomalies_records",
    "availability_records",
    "changes_record",
    "changes_records",
    "check_schema",
    "commands_record",
    "commands_records",
    "decode_aggregates",
    "decode_alarm_notes",
    "decode_alarms",
    "decode_anomalies",
    "decode_availability",
    "decode_changes",
    "decode_commands",
    "decode_health",
    "decode_messages",
    "decode_readings",
    "decode_rejected",
    "decode_retried",
    "decode_states",
    "derived_in",
    "encode_aggregates",
    "encode_alarm_notes",
    "encode_alarms",
    "encode_anomalies",
    "encode_availability",
    "encode_changes",
    "encode_commands",
    "encode_health",
    "encode_messages",
    "encode_readings",
    "encode_rejected",
    "encode_retried",
    "encode_states",
    "from_header",
    "health_record",
    "health_records",
    "held_records",
    "is_retried",
    "kind_of",
    "messages_record",
    "messages_records",
    "part_of",
    "readings_record",
    "readings_records",
    "rejected_record",
    "rejected_records",
    "retried_from",
    "retried_records",
    "schema_of",
    "states_record",
    "states_records",
]

_ALL = (
    readings,
    availability,
    held,
    rejected,
    messages,
    retried,
    aggregates,
    anomalies,
    health,
    states,
    changes,
    alarms,
    alarm_notes,
    commands,
)

#: By the header ``schema``, each kind of record in each version that can be read.
KINDS: Mapping[bytes, RecordKind] = {
    schema: module.KIND for module in _ALL for schema in module.KIND.schemas
}


def kind_of(headers: Headers) -> RecordKind:
    """The kind of a record with these headers.

    Raises:
        DataError: ``bad_record`` when it is of none that is known.
    """
    schema = schema_of(headers)
    if schema not in KINDS:
        raise DataError("bad_record", f"unknown schema {schema.decode(errors='replace')!r}")
    return KINDS[schema]

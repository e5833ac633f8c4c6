"""How times are written: which of the feed's ``time`` tables reads them.

The tables are tried with the decoder's own ``EventTimes``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from statistics import median

from connectors.formats.numbers import number_text
from connectors.formats.times import EventTimes
from headgate.config.event_time import TimeConfig
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError

#: What a feed's ``time`` says, without the path.
Table = Mapping[str, object]

#: ``strptime`` patterns that devices use; where two read the same texts, the first that fits the
#: arrival best.
PATTERNS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M", "%d.%m.%y %H:%M:%S",
    "%d.%m.%Y, %H:%M:%S", "%d.%m.%Y;%H:%M:%S",
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d-%H:%M:%S", "%Y-%m-%d_%H:%M:%S",
    "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S,%f", "%Y.%m.%d %H:%M:%S",
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M", "%m/%d/%y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%y %H:%M:%S", "%d-%m-%Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT", "%d %b %Y %H:%M:%S",
    "%d-%b-%Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%Y%m%d%H%M%S", "%Y%m%d %H%M%S",
    "%H:%M:%S %d.%m.%Y", "%H:%M:%S %d/%m/%Y", "%A, %d %B %Y %H:%M:%S", "%d %B %Y %H:%M:%S",
    "%B %d, %Y %H:%M:%S", "%Y-%m-%d %I:%M:%S %p",
)  # fmt: skip

_UNITS = ("s", "ms", "us", "ns")

#: Other beginnings that numbers count from: of GPS and NTP, of spreadsheets, Windows and .NET.
_EPOCHS: tuple[Table, ...] = (
    {"unit": "s", "epoch": "gps"}, {"unit": "ms", "epoch": "gps"}, {"unit": "s", "epoch": "ntp"},
    {"unit": "d", "epoch": "1899-12-30"}, {"unit": "100ns", "epoch": "1601-01-01"},
    {"unit": "100ns", "epoch": "0001-01-01"},
)  # fmt: skip

#: Names that a time has, in small letters without signs between.
_NAMES = frozenset(
    """time timestamp ts t at datetime date when utc epoch eventtime event_time received receivedat
    createdat measuredat sampledat recordedat sourcetimestamp sampletime readingtime tst stamp tm
    origin unixtime unixtimestamp zeit zeitstempel zeitpunkt datum uhrzeit datumuhrzeit heure temps
    horodatage fecha hora ora orario tijd tid czas aikaleima dateobserved observedat timems timens
    timesec devicetime localtime gatewaytime updated lastupdate lastupdated updatedat
    measurementtime thetime timeutc dateutc observationtime uplinktime date_time dt t0
    start starttime begin timestart timeinseconds seconds sec epochms""".split()  # noqa: SIM905
)

#: Whole hours and quarters that zones are off by, and how far a local clock may be beside them, ns.
_QUARTER_NS = 900 * NS_PER_S
_BESIDE_NS = 240 * NS_PER_S

#: So far from its arrival a time that has no time's name may be, ns; and the longest way off at
#: which one that has is believed.
_NEAR_NS = 2 * 86_400 * NS_PER_S
_FAR_NS = 20 * 366 * 86_400 * NS_PER_S

_HOURS = 14


def is_time_name(path: str) -> bool:
    """Whether a path ends as those of times do."""
    return _plain_name(path) in {name.replace("_", "") for name in _NAMES}


def tables(value: object) -> Iterator[Table]:
    """What ``time`` may say of a value that is a time; not all that comes reads it: try it."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, datetime):
        yield {}  # a format with times of its own
    if isinstance(value, int | float) or (isinstance(value, str) and number_text(value)):
        yield from ({"unit": unit} for unit in _UNITS)
    if isinstance(value, str):
        yield {"unit": "iso8601"}
        yield from ({"pattern": pattern} for pattern in PATTERNS)
        if value.strip().startswith("/Date("):
            yield {"unit": "ms"}
    if isinstance(value, int | float) and value > 0:
        yield from _EPOCHS


def offsets(
    path: str, table: Mapping[str, object], values: Sequence[object], arrival_ns: Sequence[int]
) -> list[int] | None:
    """How much earlier than its arrival each value is, ns; None where one of them is no time."""
    try:
        times = EventTimes(TimeConfig.model_validate({"path": path, **table}))
        return [
            arrived - times.time_ns(value, arrived)
            for value, arrived in zip(values, arrival_ns, strict=True)
        ]
    except (DataError, ValueError, OverflowError):
        return None


def time_table(path: str, values: Sequence[object], arrival_ns: Sequence[int]) -> Table | None:
    """What ``time`` says of values that are times of their messages; None where they are none.

    Args:
        path: Where they stand.
        values: What stands there, one a message.
        arrival_ns: When each message arrived, ns since 1970 UTC.
    """
    if not values:
        return None
    is_named = is_time_name(path)
    best: tuple[float, Table] | None = None
    for table in tables(values[0]):
        found = offsets(path, table, values, arrival_ns)
        if found is None:
            continue
        off = median(map(abs, found))
        # A number of anything may be some days of a spreadsheet: of other epochs only now is one.
        most_ns = _FAR_NS if is_named and "epoch" not in table else _NEAR_NS
        if off <= most_ns and (best is None or off < best[0]):
            best = (off, {**table, **_zone(table, values, found)})
    return None if best is None else best[1]


def _zone(table: Mapping[str, object], values: Sequence[object], found: Sequence[int]) -> Table:
    """The zone of texts that have none, where a clock that goes right is off by so many hours."""
    if "unit" in table and table["unit"] != "iso8601":
        return {}
    if any(isinstance(value, str) and _has_zone(value) for value in values):
        return {}
    off = -round(median(found) / _QUARTER_NS) * _QUARTER_NS
    hours, rest = divmod(off, 3600 * NS_PER_S)
    if off == 0 or rest or abs(hours) > _HOURS or abs(median(found) + off) > _BESIDE_NS:
        return {}
    # POSIX writes them the other way round.
    return {"zone": f"Etc/GMT{-hours:+d}"}


def _has_zone(text: str) -> bool:
    return re.search(r"(?:Z|[+-]\d\d:?\d\d|GMT|UTC)\s*$", text.strip()[10:]) is not None


def _plain_name(path: str) -> str:
    name = path.rpartition(".")[2].strip('"')
    return re.sub(r"[^a-zäöüéèà0-9]", "", name.casefold())

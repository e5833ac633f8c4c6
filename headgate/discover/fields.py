"""What stands in the records of some topics: the time, the device's name, the channels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from math import inf

from connectors.formats.numbers import number_in
from headgate.config.payload_path import parts_of
from headgate.config.suffixes import alike
from headgate.core.clock import NS_PER_S
from headgate.discover.called import is_called_a_count, unit_of
from headgate.discover.leaves import leaves
from headgate.discover.names import channel_names
from headgate.discover.payloads import is_number
from headgate.discover.times import Table, is_time_name, offsets, time_table
from headgate.discover.values import (
    LEAST_TEXTS,
    Keys,
    are_hexadecimal,
    are_states,
    of_mixed_units,
    of_units,
    reads,
    same_behind,
    says_nothing,
    split_unit,
    states_of,
    writings,
)

#: Values of one path that are kept, and paths of one kind of message.
_MOST_VALUES = 60
MOST_CHANNELS = 200

#: Fields that two of are tried for being date and time of day.
_TIME_FIELDS = 4

#: Longer texts are no numbers.
_LONGEST_NUMBER = 64

#: Messages that tell a name from a number that counts.
_ENOUGH = 4

#: What is called so and is smaller may be a temperature.
_TEMPERATURES = ("t", "temps")
_SMALL = 1000

#: Units that are told of a channel that is left out.
_SHOWN = 5

#: Ends of names under which no text is a measurement, in small letters without signs between.
_IDS = ("id", "eui", "mac", "address", "addr", "serial", "version", "firmware", "fw", "key", "uuid")

#: So many of a channel's values must be read.
_MOSTLY = 0.9

#: Keys that a device's name stands under, in small letters without signs between; the first first.
_NAME_KEYS = (
    "deviceid", "deviceids", "devicename", "device", "deveui", "dev", "did", "sensorid",
    "sensorname", "sensor", "serial", "serialnumber", "serialno", "sn", "mac", "macaddress",
    "macaddr", "nodeid", "node", "imei", "uuid", "uid", "meterid", "meter", "thing", "thingid",
    "assetid", "asset", "machine", "machineid", "equipment", "unitid", "station", "stationid",
    "source", "host", "hostname", "name", "id", "geraet", "geraeteid", "gerät", "capteur",
    "appareil", "dispositivo", "tag", "addr", "address",
)  # fmt: skip

#: Names of values that are no measurements, in small letters without signs between.
_NO_CHANNELS = frozenset(
    """id seq sequence seqno fcnt fport version schema apiversion protocol port msgid messageid
    packetid frameid tid mid index deviceid serial sn model vendor""".split()  # noqa: SIM905
)

#: What is called so beside the seconds of a time is the rest of it, and how many are a second.
_PARTS_OF_SECONDS = {
    "ns": "ns", "us": "us", "micros": "us", "microseconds": "us", "ms": "ms", "millis": "ms",
    "milliseconds": "ms",
}  # fmt: skip
_IN_A_SECOND = {"ns": 10**9, "us": 10**6, "ms": 10**3}

#: A number that is no time by its name is one when it is never farther from its arrival, ns.
_CLOSE_NS = 3600 * NS_PER_S

#: Places that values are told apart by.
_MOST_PLACES = 1000


@dataclass(slots=True)
class Values:
    """What stood at one path.

    Attributes:
        count: How often there was something.
        low: The smallest number.
        high: The largest.
        some: Values, each once, of the first so many.
        rises: How often a number was higher than the one before it from the same place.
        falls: How often it was lower.
        turns: How often a text was another one than the one before it from the same place.
    """

    count: int = 0
    low: float = inf
    high: float = -inf
    some: dict[tuple[type, object], None] = field(default_factory=dict)
    rises: int = 0
    falls: int = 0
    turns: int = 0
    _last: dict[str, object] = field(default_factory=dict)

    @property
    def distinct(self) -> list[object]:
        """The values that were kept, each once."""
        return [value for _, value in self.some]

    def add(self, value: object, of: str = "") -> None:
        """Take up a value, from a place such as a topic."""
        self.count += 1
        before = self._last.get(of)
        if isinstance(value, str):
            self.turns += isinstance(before, str) and before != value
            self._compare(value, before)
        elif _is_plain(value) and _is_plain(before):
            self.rises += value > before  # type: ignore[operator]
            self.falls += value < before  # type: ignore[operator]
        if of in self._last or len(self._last) < _MOST_PLACES:
            self._last[of] = value if isinstance(value, str | int | float) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = inf
            self.low, self.high = min(self.low, number), max(self.high, number)
        if isinstance(value, str) and len(value) > 200:
            value = value[:200]
        if len(self.some) < _MOST_VALUES and isinstance(value, str | int | float | bool | None):
            self.some[type(value), value] = None

    def _compare(self, text: str, before: object) -> None:
        """Count a rise or fall of a number in a text, in the same unit as the one before it."""
        if not isinstance(before, str) or text == before:
            return
        one, other = split_unit(before[:_LONGEST_NUMBER]), split_unit(text[:_LONGEST_NUMBER])
        if one is None or other is None or one[1] != other[1]:
            return
        numbers = [number_in(each.replace(",", ".")) for each in (one[0], other[0])]
        if numbers[0] is None or numbers[1] is None:
            return
        self.rises += numbers[1] > numbers[0]
        self.falls += numbers[1] < numbers[0]


@dataclass(slots=True)
class Channel:
    """A channel as it is proposed.

    Attributes:
        name: Its name.
        path: Where it stands, if that is not its name.
        keys: What it has to say of how its values are written, and its unit.
        note: What was heard of it, for people.
    """

    name: str
    path: str
    keys: Keys
    note: str

    @property
    def table(self) -> dict[str, object]:
        """As it stands in the file."""
        path = {} if self.path == self.name else {"path": self.path}
        return {**path, **self.keys}


@dataclass(frozen=True, slots=True)
class Record:
    """A record, what is around it, and when it arrived."""

    record: object
    around: object
    arrived_ns: int
    topic: str


def values_of(records: Sequence[Record], *, into_lists: bool = True) -> dict[str, Values]:
    """What stands at each path of the records."""
    found: dict[str, Values] = {}
    for each in records:
        for path, value in leaves(each.record, into_lists=into_lists):
            if path not in found and len(found) >= 20 * MOST_CHANNELS:
                continue
            found.setdefault(path, Values()).add(value, each.topic)
    return found


def time_of(records: Sequence[Record]) -> Table | None:
    """The feed's ``time`` with its path; None where no field of all of them is their time."""
    best: tuple[tuple[bool, bool, int, str], Table] | None = None
    first = records[0]
    around = [] if first.around is first.record else leaves(first.around, into_lists=False)
    for path, _ in [*leaves(first.record, into_lists=False), *around]:
        pairs = [
            (value, each.arrived_ns) for each in records if (value := _at(each, path)) is not None
        ]
        if len(pairs) < len(records):
            continue
        values, arrival_ns = [value for value, _ in pairs], [arrived for _, arrived in pairs]
        table = time_table(path, values, arrival_ns)
        is_named = is_time_name(path)
        if table is None or not (is_named or _is_close(path, table, values, arrival_ns)):
            continue
        name = path.rpartition(".")[2].casefold()
        rank = (not is_named, "recei" in name or "updat" in name, path.count("."), path)
        if best is None or rank < best[0]:
            best = (rank, {"path": path, **table})
    return _date_and_time(records) if best is None else _with_nanoseconds(best[1], records)


def _date_and_time(records: Sequence[Record]) -> Table | None:
    """The time that stands in two fields, a date and a time of day; None where there is none."""
    first = records[0]
    around = [] if first.around is first.record else leaves(first.around, into_lists=False)
    paths = [
        path
        for path, value in [*leaves(first.record, into_lists=False), *around]
        if isinstance(value, str) and is_time_name(path)
    ]
    arrival_ns = [each.arrived_ns for each in records]
    for date, time in permutations(paths[:_TIME_FIELDS], 2):
        pairs = [(_at(each, date), _at(each, time)) for each in records]
        texts = [f"{one} {other}" for one, other in pairs if one is not None and other is not None]
        if len(texts) == len(records) and (table := time_table(date, texts, arrival_ns)):
            return {"path": [date, time], **table}
    return None


def _is_close(path: str, table: Table, values: Sequence[object], arrival_ns: Sequence[int]) -> bool:
    """Whether what is no time by its name is one; a number may be near to it by chance."""
    if isinstance(values[0], str):
        return True
    off_ns = offsets(path, table, values, arrival_ns)
    is_moving = len(set(map(repr, values))) * 2 > len(values)
    return is_moving and off_ns is not None and max(map(abs, off_ns)) <= _CLOSE_NS


def _with_nanoseconds(table: Table, records: Sequence[Record]) -> Table:
    """The same with the nanoseconds that stand beside whole seconds, if any do, or the like."""
    path = str(table["path"])
    parent = path.rpartition(".")[0]
    if table.get("unit") != "s":
        return table
    for other, value in leaves(records[0].record, into_lists=False):
        unit = _part_of_second(other.rpartition(".")[2].casefold(), is_alone=bool(parent))
        if other.rpartition(".")[0] == parent and unit and type(value) is int:
            both: Table = {**table, "path": [path, other], "unit": ["s", unit]}
            values = [_at(each, other) for each in records]
            most = _IN_A_SECOND[unit]
            if all(type(each) is int and 0 <= each < most for each in values):
                return both
    return table


def _part_of_second(name: str, *, is_alone: bool) -> str:
    """The unit of what stands beside a time and is called so; empty for what is no part of it.

    Args:
        name: The last key.
        is_alone: Whether nothing but the time is beside it: then a unit alone is a name.
    """
    if "nano" in name:
        return "ns"
    word = re.sub("^tv_|(?<=s)ec$", "", name)
    return _PARTS_OF_SECONDS.get(word, "") if is_alone else ""


def device_paths(records: Sequence[Record], taken: set[str]) -> list[tuple[str, bool]]:
    """Paths that a device's name may stand at, the likeliest first.

    Each with whether several names come on one topic.

    Args:
        records: The records.
        taken: Paths that are something else.
    """
    found = []
    first = records[0]
    around = [] if first.around is first.record else leaves(first.around, into_lists=False)
    messages = Counter(topic for topic, _ in {(each.topic, each.arrived_ns) for each in records})
    for path, value in [*leaves(first.record, into_lists=False), *around]:
        name = re.sub(r"[^a-zäöü0-9]", "", path.rpartition(".")[2].casefold())
        if (
            path in taken
            or name not in _NAME_KEYS
            or not isinstance(value, str | int)
            or isinstance(value, bool)
        ):
            continue
        by_topic: dict[str, set[object]] = {}
        for each in records:
            by_topic.setdefault(each.topic, set()).add(_at(each, path))
        names = {name for some in by_topic.values() for name in some}
        if None in names or "" in names:
            continue
        # What is new in each message is no name.
        if any(
            messages[topic] >= _ENOUGH and 2 * len(some) > messages[topic]
            for topic, some in by_topic.items()
        ):
            continue
        several = any(len(some) > 1 for some in by_topic.values())
        found.append((_NAME_KEYS.index(name), path.count("."), path, several))
    return [(path, several) for _, _, path, several in sorted(found)]


def channels_of(
    found: dict[str, Values], taken: set[str], units: Mapping[str, Sequence[str]]
) -> tuple[list[Channel], list[str]]:
    """The channels at these paths, the commonest first where there are too many.

    Args:
        found: What stands at each path.
        taken: Paths that are something else.
        units: By path, the units that a payload says.

    Returns:
        Them, and what a person should know of those that are left out.
    """
    proposed = []
    comments = []
    # Some formats have a value twice: by its name alone, where that is the only one of it.
    twice = {
        path
        for path, values in found.items()
        if "." in path
        and (alone := found.get(path.rpartition(".")[2])) is not None
        and alone.some == values.some
        and alone.count == values.count
    }
    for path, values in found.items():
        said = units.get(path, ())
        is_none = _simple(path) in _NO_CHANNELS or is_time_name(path)
        if path in taken or path in twice or (is_none and not _is_measured(path, values, said)):
            continue
        if _has_texts(values) and _simple(path).endswith(_IDS):
            continue
        if mixed := mixed_units(path, values, said):
            comments.append(mixed)
            continue
        keys = channel_keys(values)
        if keys is None:
            comments += mixed_kinds(path, values)
            continue
        keys = completed(path, keys, values, said)
        proposed.append((values.count, path, keys, described(values)))
    proposed.sort(key=lambda each: -each[0])
    kept = {path: (keys, note) for _, path, keys, note in proposed[:MOST_CHANNELS]}
    ordered = [path for path in found if path in kept]
    names = channel_names(ordered)
    return [Channel(names[path], path, *kept[path]) for path in ordered], comments


def mixed_units(path: str, values: Values, units: Sequence[str] = ()) -> str:
    """Why a channel can't be read whose units change in a way that nothing converts; or empty.

    Args:
        path: Where it stands.
        values: What stood there.
        units: The units that a payload says beside it.
    """
    numbers = [value for value in values.distinct if not isinstance(value, str | None)]
    if len(units) > 1 and not alike(units) and (numbers or not of_units(values.distinct)):
        shown = ", ".join(f'"{unit}"' for unit in units[:_SHOWN])
        return f"Left out: {path}, whose unit stands beside it and changes: {shown}."
    if texts := of_mixed_units(values.distinct):
        shown = ", ".join(f'"{text}"' for text in texts)
        return (
            f"Left out: {path}, with units behind its numbers that don't go together: {shown}; a "
            "table of suffix can say what they mean."
        )
    return ""


def mixed_kinds(path: str, values: Values) -> list[str]:
    """What to tell of what is now a number and now a word, so that it is no channel; maybe none.

    Args:
        path: Where it stands.
        values: What stood there.
    """
    some = [
        value
        for value in values.distinct
        if value is not None and not (isinstance(value, str) and says_nothing(value))
    ]
    is_text = [isinstance(value, str) and not is_number(value) for value in some]
    if len(some) > 1 and True not in is_text:
        shown = [repr(value) for value in some[:_SHOWN]]
        return [f"Left out: {path}, whose numbers are written in several ways: {', '.join(shown)}."]
    if 4 * is_text.count(False) < len(some) or True not in is_text:
        return []
    shown = [repr(some[is_text.index(kind)]) for kind in (False, True)]
    return [f"Left out: {path}, which is now a number and now a text: {', '.join(shown)}."]


def channel_keys(values: Values) -> Keys | None:
    """What a channel says of how these values are written; None where they are no readings."""
    distinct = values.distinct
    full = [value for value in distinct if value is not None and value != ""]
    if not full or any(isinstance(value, dict | list) for value in full):
        return None
    texts = [value for value in full if isinstance(value, str)]
    if not texts:
        return {}
    others = len(full) - len(texts)
    said = [text for text in texts if not says_nothing(text)]
    numeric = [text for text in texts if is_number(text)] or same_behind(said)
    is_hexadecimal = len(texts) >= LEAST_TEXTS and are_hexadecimal(texts)
    if not numeric and not others and not is_hexadecimal and states_of(texts) is None:
        return {"type": "text"} if are_states(texts, values.count, values.turns) else None
    best: tuple[float, Keys] | None = None
    for keys in writings(distinct):
        share = reads(keys, distinct) / len(distinct)
        if best is None or share > best[0]:
            best = (share, keys)
    if best is None or best[0] < _MOSTLY:
        return {} if others and reads({}, distinct) >= _MOSTLY * len(distinct) else None
    return best[1]


def completed(path: str, keys: Keys, values: Values, units: Sequence[str] = ()) -> Keys:
    """What a channel says, with its unit, and that it is a counter where it is one.

    Args:
        path: Where it stands.
        keys: How its values are written.
        values: Them.
        units: What a payload says it is in; none: its name may say it.
    """
    if keys.get("type") == "text":
        return keys
    # What stands behind the values is nearer to them than what stands beside.
    beside = alike(units) if units and "suffix" not in keys else ""
    unit = str(keys.get("unit", "")) or beside or unit_of(path, keys)
    keys = {**({"unit": unit} if unit else {}), **keys}
    only_rises = values.rises >= _ENOUGH - 1 and not values.falls and values.low >= 0
    is_count = only_rises and "states" not in keys and is_called_a_count(path, str(unit))
    return {**keys, "counter": True} if is_count else keys


def _is_measured(path: str, values: Values, units: Sequence[str]) -> bool:
    """Whether what is called as times are is none: it has a unit, or may be a temperature.

    A temperature is called ``t``, and is a small number that does not just count up.
    """
    if is_time_name(path) and (units or of_units(values.distinct)):
        return True
    if _simple(path) not in _TEMPERATURES:
        return False
    numbers = [number for each in values.distinct if (number := number_in(each)) is not None]
    is_small = bool(numbers) and all(-_SMALL < number < _SMALL for number in numbers)
    counts_up = all(one < other and other % 1 == 0 for one, other in pairwise(numbers))
    return is_small and not (counts_up and len(numbers) > 1)


def _has_texts(values: Values) -> bool:
    return any(isinstance(value, str) for value in values.distinct)


def described(values: Values) -> str:
    """What was heard, for people."""
    if values.high >= values.low:
        if values.low == values.high:
            return f"{values.low:g}"
        return f"{values.low:g} … {values.high:g}"
    shown = [str(value) for value in values.distinct[:4]]
    return ", ".join(shown) + (", …" if len(values.distinct) > 4 else "")


def _at(record: Record, path: str) -> object:
    for where in (record.record, record.around):
        for each, value in leaves(where, into_lists=False):
            if each == path:
                return value
    return None


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _simple(path: str) -> str:
    return re.sub(r"[^a-z0-9]", "", parts_of(path)[-1].casefold())

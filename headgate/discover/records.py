"""How the records of some topics are shaped: where they stand, names and values, arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.formats.paths import array_below
from headgate.core.clock import NS_PER_S
from headgate.core.units import format_duration
from headgate.discover.fields import Record, Values
from headgate.discover.leaves import leaves, path_of
from headgate.discover.times import is_time_name
from headgate.discover.values import PAIR_VALUES, is_known_unit, split_unit

#: Keys of records that are a name and a value each; large letters are small ones.
_PAIR_NAMES = (
    "resourcename", "name", "n", "id", "tag", "tagname", "channel", "key", "metric", "nodeid",
    "sensor", "parameter", "signal", "type", "variable", "item", "address", "label", "point",
    "object", "objectname", "objectid", "dataitemid", "displayname", "itemname",
)  # fmt: skip

#: Keys beside them that say how good a value is, what says that it is, and its unit.
_QUALITY = ("q", "quality", "Quality", "good", "status", "isGood", "qc", "qualityCode")
_GOOD = ("True", "'GOOD'", "'Good'", "'good'", "'OK'", "'ok'", "192", "'192'")

#: Those of them that are of nothing else.
_SAYS_NOTHING_ELSE = ("quality", "Quality", "qc", "qualityCode")

#: Keys of codes of which 0 says that there is nothing wrong; and the least code of OPC UA that says
#: that there is.
_STATUS = ("status",)
_BAD_OF_UA = 1 << 30

#: OPC DA's code of what is good, which are the bits that say so, and its largest.
_GOOD_OF_DA, _MOST_OF_DA = 0xC0, 0xFF

#: Keys that a unit stands under, in small letters.
_UNIT_KEYS = (
    "unit", "u", "uom", "units", "unitofmeasurement", "unit_of_measurement", "einheit", "unite",
    "unité", "unidad", "unita", "unità",
)  # fmt: skip

#: Powers of ten that scale factors are.
_MOST_POWER = 10

#: A longer text is no unit.
_LONGEST_UNIT = 16

#: Keys that say how many elements of an array there are in a second.
_RATE = re.compile(
    r"(?:sample_?)?rate(?:_?hz)?|hz|fs|sampling_?(?:rate|freq\w*)|freq(?:uency)?_?hz",
    re.IGNORECASE,
)

#: Keys that say how far the elements of an array are apart, and in which unit, if they do.
_STEP = re.compile(
    r"(?:dt|delta_?t|step|(?:sample_?|sampling_?)?(?:interval|period|spacing)|sample_?time)"
    r"(?:_?(s|ms|us|ns|sec))?",
    re.IGNORECASE,
)
_STEP_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

#: What SenML's first record says of all of them.
_BASES = ("bt", "bv", "bs", "bver", "ut")

#: More names than these are devices.
_MOST_NAMES = 150

#: A record with more elements of arrays is a wave.
_FEW_ELEMENTS = 4


@dataclass(slots=True)
class Shaped:
    """The shape of the records of one feed.

    Attributes:
        keys: What the feed says of it: ``records``, ``pairs``, ``arrays``, ``quality``.
        records: The records.
        beside: Keys that say something of the shape, and are no channels.
        names: With names and values: by name, the values.
        units: By name, the units that stand beside its values.
        comments: What a person should know of it.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    beside: set[str] = field(default_factory=set)
    names: dict[str, list[object]] | None = None
    units: dict[str, list[str]] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)


def unit_in(record: Mapping[str, object]) -> str:
    """The unit that a record says its value is in; empty for none."""
    by_name = {str(key).casefold(): value for key, value in record.items()}
    said = (by_name[key] for key in _UNIT_KEYS if isinstance(by_name.get(key), str))
    return str(next(said, ""))[:_LONGEST_UNIT]


def units_beside(found: Mapping[str, Values]) -> dict[str, list[str]]:
    """By path of a value, the units that stand beside it, each once.

    Args:
        found: What stands at each path: ``temp.value`` and ``temp.unit``, ``temp`` and
            ``temp_unit``, or ``temp`` alone and ``unit``.
    """
    numbers: dict[str, list[str]] = {}
    for path, values in found.items():
        if values.high >= values.low and not is_time_name(path) and not _is_count(path):
            numbers.setdefault(_above(path), []).append(path)
    by_name: dict[str, str] = {}
    for path in found:
        by_name.setdefault(path.casefold(), path)
    units = {}
    for path in found:
        above, key = _above(path), path.rpartition(".")[2]
        is_value = key.casefold() in PAIR_VALUES and _has_numbers(found[path])
        is_value |= numbers.get(above) == [path]
        places = [f"{above}{each}" for each in _UNIT_KEYS] if is_value else []
        places += [f"{path}_unit", f"{path}unit", f"{path}_units"]
        tables = (above, _above(above.removesuffix("."))) if above else (above,)
        places += [f"{table}{each}.{key}" for table in tables for each in ("unit", "units")]
        places += [f"{above}1"] if key == "0" and _are_units(found.get(f"{above}1")) else []
        known = (by_name.get(place.casefold()) for place in places)
        said = next((found[place] for place in known if place not in (None, path)), None)
        texts = [] if said is None else [each for each in said.distinct if each is not None]
        if texts and all(isinstance(each, str) for each in texts):
            units[path] = different(map(str, texts))
    return {path: some for path, some in units.items() if some}


def unclaimed(found: Mapping[str, Values], units: Mapping[str, object]) -> list[str]:
    """What to tell of units that change and may be those of any of several values.

    Args:
        found: What stands at each path.
        units: By path, the units that are known to be its own.
    """
    comments = []
    for path, values in found.items():
        is_one = path.rpartition(".")[2].casefold() in _UNIT_KEYS and _are_units(values)
        texts = different(map(str, values.distinct)) if is_one else []
        if len(texts) > 1 and not any(_above(each) == _above(path) for each in units):
            shown = ", ".join(f'"{text}"' for text in texts)
            comments.append(f"{path} changes ({shown}): leave out the channel whose unit it is.")
    return comments


def _are_units(values: Values | None) -> bool:
    texts = [] if values is None else values.distinct
    return bool(texts) and all(isinstance(each, str) and is_known_unit(each) for each in texts)


def _has_numbers(values: Values) -> bool:
    texts = (each for each in values.distinct if isinstance(each, str))
    return values.high >= values.low or any(split_unit(text) is not None for text in texts)


def powers_beside(found: Mapping[str, Values]) -> dict[str, str]:
    """By path of a value, that of the power of ten it is multiplied by, as SunSpec calls them."""
    powers = {}
    for path in found:
        beside = found.get(f"{path}_SF")
        if beside is not None and all(_is_power(each) for each in beside.distinct):
            powers[path] = f"{path}_SF"
    return powers


def _is_power(value: object) -> bool:
    return type(value) is int and -_MOST_POWER <= value <= _MOST_POWER


def _above(path: str) -> str:
    return path[: len(path) - len(path.rpartition(".")[2])]


def different(texts: Iterable[str]) -> list[str]:
    """Units that stand beside values, each once."""
    return list(dict.fromkeys(unit for text in texts if (unit := text.strip()[:_LONGEST_UNIT])))


def shaped(contents: Sequence[Record]) -> Shaped:
    """The shape of what the format has read: of each message one record, or a list of some."""
    found = Shaped()
    below = _array_of_all(contents)
    if below:
        found.keys["records"] = below
    for each in contents:
        records = _at(each.record, below) if below else each.record
        for record in records if isinstance(records, list) else [records]:
            found.records.append(Record(record, each.record, each.arrived_ns, each.topic))
    _find_pairs(found)
    if found.names is None:
        _find_arrays(found)
    return found


def _array_of_all(contents: Sequence[Record]) -> str:
    """Path of the array that has all measurements; empty when there is none."""
    paths = Counter(array_below(each.record, 2, is_innermost=False) for each in contents)
    if not paths:
        return ""
    path, count = paths.most_common(1)[0]
    if not path or 2 * count < len(contents):
        return ""
    for each in contents:
        inside = _at(each.record, path)
        if not isinstance(inside, list):
            continue
        # What has measurements beside the array has them there for a reason.
        for place, value in leaves(each.record, into_lists=False):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and not is_time_name(place) and not _is_count(place):
                return ""
    return path


def _is_count(path: str) -> bool:
    name = path.rpartition(".")[2].casefold()
    return name in ("seq", "count", "n", "size", "version", "id", "schema", "sequence", "total")


def _find_pairs(found: Shaped) -> None:
    dicts = [each.record for each in found.records if isinstance(each.record, dict)]
    if not dicts or len(dicts) < len(found.records):
        return
    keys = {key: key.casefold() for key in dicts[0] if isinstance(key, str)}
    names = [key for wanted in _PAIR_NAMES for key, plain in keys.items() if plain == wanted]
    for name in names:
        for value in PAIR_VALUES:
            if name == value or not all(name in each and value in each for each in dicts):
                continue
            texts = [each[name] for each in dicts]
            if not all(isinstance(text, str) and text for text in texts):
                continue
            if len(set(texts)) > _MOST_NAMES or not _are_pairs(dicts, name, value):
                continue
            inner = _value_in([each[value] for each in dicts])
            if inner is None:
                continue
            found.keys["pairs"] = {"name": name, "value": f"{value}.{inner}" if inner else value}
            found.names = {}
            for each in dicts:
                said = each[value]
                found.names.setdefault(each[name], []).append(said[inner] if inner else said)
                if unit := unit_in(each):
                    found.units.setdefault(each[name], []).append(unit)
            _find_quality(found, dicts)
            return


def _value_in(values: Sequence[Any]) -> str | None:
    """The key of the value itself, where each stands in an object with what is said of it.

    Empty where values stand there; None where objects do that are none.
    """
    if not any(isinstance(each, dict | list) for each in values):
        return ""
    if not all(isinstance(each, dict) for each in values):
        return None
    keys = (key for key in PAIR_VALUES if all(key in each for each in values))
    found = next(keys, None)
    return found if found is not None and _are_pairs(values, found, found) else None


def _are_pairs(dicts: Sequence[dict[str, object]], name: str, value: str) -> bool:
    """Whether records have nothing else that is measured."""
    for each in dicts:
        for key, other in each.items():
            is_number = isinstance(other, int | float) and not isinstance(other, bool)
            if key in (name, value, *_QUALITY) or not is_number:
                continue
            if not is_time_name(key) and not _is_count(key) and key not in _BASES:
                return False
    return True


def _find_quality(found: Shaped, dicts: Sequence[dict[str, object]]) -> None:
    for key in _QUALITY:
        said = [each[key] for each in dicts if key in each]
        if len(said) < len(dicts):
            continue
        words = list(dict.fromkeys((type(each), each) for each in said if repr(each) in _GOOD))
        good = [each for _, each in words]
        has_zero = any(type(each) is int and not each for each in said)
        if has_zero and not good and _is_zero_good(key, said):
            good = [0]
        elif has_zero and not good:
            found.comments.append(
                f"{key} says 0, which is good in OPC UA and bad in OPC DA: if it says how good "
                f'values are, give quality = {{ path = "{key}", good = … }}.'
            )
        elif not good and key in _SAYS_NOTHING_ELSE:
            found.comments.append(
                f"{key} says {', '.join(sorted({*map(repr, said)})[:3])}: if it says how good "
                f'values are, give quality = {{ path = "{key}", good = … }}.'
            )
        goods = {*map(repr, good)}
        is_most = 2 * sum(repr(each) in goods for each in said) >= len(said)
        if good and is_most:
            found.keys["quality"] = {"path": key, **_with_mask(good, said)}
            return


def _with_mask(good: list[object], said: Sequence[object]) -> dict[str, object]:
    """What says that values are good; of OPC DA's codes with others by which they are, as well."""
    codes = {each for each in said if type(each) is int}
    is_masked = any(code != _GOOD_OF_DA and code & _GOOD_OF_DA == _GOOD_OF_DA for code in codes)
    if good == [_GOOD_OF_DA] and is_masked and max(codes) <= _MOST_OF_DA:
        return {"good": _GOOD_OF_DA, "mask": _GOOD_OF_DA}
    return {"good": good}


def _is_zero_good(key: str, said: Sequence[object]) -> bool:
    """Whether 0 is what says that a value is good, where no other code does.

    A status of 0 is, and so it is beside OPC UA's codes of what isn't, which are large. That of
    OPC DA is bad, as a quality of 0 is, or "good" as a number.
    """
    codes = [each for each in said if type(each) is int and each]
    if codes:
        return all(code >= _BAD_OF_UA for code in codes)
    return key in _STATUS


def _find_arrays(found: Shaped) -> None:
    """Channels that are arrays, an element a time."""
    lists: Counter[str] = Counter()
    for each in found.records:
        record = each.record
        if not isinstance(record, dict):
            return
        for key, value in record.items():
            if isinstance(value, list) and len(value) > 1 and all(_is_number(one) for one in value):
                lists[key] += 1
    if not lists or min(lists.values()) < len(found.records):
        return
    times = [key for key in lists if is_time_name(key)]
    first = found.records[0].record
    assert isinstance(first, dict)  # noqa: S101  (looked at above)
    if times and len(lists) > 1:
        found.keys["arrays"] = {}
        return
    rates = [key for key, value in first.items() if _RATE.fullmatch(key) and _is_number(value)]
    rate = path_of((rates[0],)) if rates else None
    if rate is not None:
        found.keys["arrays"] = {"rate": rate}
        found.beside.add(rate)
        return
    for key, value in first.items():
        step_s = _step_s(key, value, found.records, max(len(first[each]) for each in lists))
        if step_s is not None:
            found.keys["arrays"] = {"step": format_duration(round(step_s * NS_PER_S))}
            found.beside.add(key)
            return


def _step_s(key: str, value: object, records: Sequence[Record], count: int) -> float | None:
    """How far the elements of arrays are apart, s, if this key says so and always the same.

    Where it names no unit it is the longest by which arrays of so many elements follow each other.
    """
    named = _STEP.fullmatch(key)
    if named is None or isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    if any(_at(each.record, key) != value for each in records):
        return None
    arrivals = sorted(each.arrived_ns for each in records)
    apart_s = (arrivals[-1] - arrivals[0]) / max(len(arrivals) - 1, 1) / NS_PER_S
    unit = (named[1] or "").lower()[:2].removesuffix("e")
    if unit:
        return float(value) * _STEP_UNITS[unit]
    steps_s = [float(value) * size for size in _STEP_UNITS.values()]
    return next((each for each in steps_s if count * each <= 1.5 * apart_s), steps_s[0])


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _at(record: object, path: str) -> object:
    for part in path.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record

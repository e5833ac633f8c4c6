"""How values are written that are no plain numbers, and what a channel has to say to read them.

What is found is tried with the decoder's own ``Signal``: nothing here decides what a text means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from connectors.formats.numbers import MAX_NUMBER, is_literal, number_text
from connectors.formats.signals import Signal
from headgate.config.channel import ChannelConfig, plain
from headgate.config.conversion import is_unit
from headgate.config.suffixes import alike, common, is_power, problem, written
from headgate.core.errors import DataError
from headgate.core.texts import is_fit

#: Words that are states, at most, and how long one is.
_MOST_STATES, _LONGEST_STATE = 8, 32

#: What a channel may say of how its values are written.
Keys = dict[str, object]

#: Keys that a value stands under, in an object of its own.
PAIR_VALUES = (
    "value", "v", "val", "Value", "reading", "data", "state", "presentValue", "present_value",
)  # fmt: skip

#: Words for "there is no reading", as they are compared: from device firmware and home automation,
#: in the languages that the rest of Europe writes its firmware in.
NO_READING = frozenset(
    """n/a na n.a. none null nil nan unavailable unknown undefined undef invalid error err fault
    fail failed missing absent disconnected - -- --- ---- . .. ... ? ?? ??? * *** # n/v nd n.d.
    no_data nodata unbekannt fehler ungültig inconnu indisponible desconocido""".split()  # noqa: SIM905
) | {"", "no data", "not available", "nicht verfügbar", "out of range", "not connected"}

#: Pairs of words, the first of which is 1 and the second 0.
_PAIRS = (
    ("on", "off"), ("true", "false"), ("open", "closed"), ("open", "close"), ("opened", "closed"),
    ("yes", "no"), ("high", "low"), ("active", "inactive"), ("enabled", "disabled"),
    ("running", "stopped"), ("run", "stop"), ("ok", "alarm"), ("home", "not_home"),
    ("detected", "clear"), ("occupied", "unoccupied"), ("occupied", "free"), ("wet", "dry"),
    ("locked", "unlocked"), ("lock", "unlock"), ("up", "down"), ("start", "stop"),
    ("pressed", "released"), ("charging", "discharging"), ("ein", "aus"), ("an", "aus"),
    ("auf", "zu"), ("offen", "geschlossen"), ("ja", "nein"), ("oui", "non"), ("ouvert", "fermé"),
    ("marche", "arrêt"), ("si", "no"), ("sí", "no"), ("sì", "no"), ("да", "нет"), ("вкл", "выкл"),
    ("aperto", "chiuso"), ("abierto", "cerrado"),
    ("encendido", "apagado"), ("acceso", "spento"), ("aan", "uit"), ("sim", "não"), ("tak", "nie"),
    ("zał", "wył"), ("wahr", "falsch"), ("vrai", "faux"), ("verdadero", "falso"), ("vero", "falso"),
    ("geöffnet", "geschlossen"), ("ouverte", "fermée"), ("abierta", "cerrada"),
    ("encendida", "apagada"), ("aperta", "chiusa"), ("accesa", "spenta"), ("activo", "inactivo"),
    ("activa", "inactiva"), ("attivo", "inattivo"), ("aktiv", "inaktiv"), ("actif", "inactif"),
    ("marcha", "paro"), ("läuft", "steht"), ("otwarte", "zamknięte"), ("włączony", "wyłączony"),
    ("motion", "no_motion"), ("present", "absent"), ("enable", "disable"),
)  # fmt: skip

_STATES = {word: 1 - at for pair in reversed(_PAIRS) for at, word in enumerate(pair)}

#: Whether a device is there: no measurement.
PRESENCE = frozenset(
    """online offline connected disconnected alive dead available unavailable lost init ready
    sleeping disconnect up down""".split()  # noqa: SIM905
)

#: A number as people write it, and what stands behind it: letters and signs of units, and a power.
_WITH_UNIT = re.compile(
    r"\s*([+-]?(?:\d[\d.,'’ \xa0\u2009\u202f]*|[.,]\d+)(?:[eE][+-]?\d+)?)"
    r"\s*((?:[^\W\d_]\.?|[°%‰\"]){1,10}[²³23]?(?:[ ·*/](?:[^\W\d_]\.?|[°%]){1,6}[²³23]?)?)?\s*"
)

#: The same with any text without digits behind it.
_WITH_ANYTHING = re.compile(
    r"\s*([+-]?(?:\d[\d.,'’]*|[.,]\d+))\s*([^\d\s](?:[^\d]{0,14}[^\d\s])?)\s*"
)

#: A longer text is no unit.
_LONGEST_UNIT = 16

_EXPONENT = re.compile(r"[eE][+-]?\d+$")

#: More kinds of units behind one channel's values are no units.
_MOST_SUFFIXES = 5

#: Whole numbers in base 16: with its sign, or digits of which so many are a register's, or of which
#: so many texts have as many.
_WITH_SIGN = re.compile(r"0[xX][0-9A-Fa-f]{1,16}")
_REGISTER = re.compile(r"[0-9A-F]{2,8}|[0-9a-f]{2,8}")
_LEAST_DIGITS, LEAST_TEXTS = 4, 3


def split_unit(text: str) -> tuple[str, str] | None:
    """A number as people write it and the unit behind it, maybe empty; None: it is neither."""
    if len(text) > MAX_NUMBER or is_literal(text):
        return None
    found = _WITH_UNIT.fullmatch(text)
    if found is None:
        return None
    return found[1].strip(), (found[2] or "").strip()


def same_behind(texts: Sequence[str]) -> list[tuple[str, str]] | None:
    """Numbers with one and the same text behind them, whatever that is, with it; None: others.

    ``230 V~`` and ``7 mm/m²`` are such; a sign alone is none, for it may belong to the number.
    """
    found = [_WITH_ANYTHING.fullmatch(text) for text in texts if len(text) <= MAX_NUMBER]
    split = [(each[1].strip(), each[2].strip()) for each in found if each is not None]
    behind = {text for _, text in split}
    is_one = len(behind) == 1 and len(split) == len(texts)
    is_named = any(sign.isalpha() or sign in "°%‰€$£¥" for text in behind for sign in text)
    return split if is_one and is_named else None


def are_hexadecimal(texts: Sequence[str]) -> bool:
    """Whether texts are whole numbers in base 16: ``0x1F``, or ``00FF`` where that is no unit."""
    words = [text.strip() for text in texts]
    if any(map(_WITH_SIGN.fullmatch, words)):
        return all(_WITH_SIGN.fullmatch(word) or _REGISTER.fullmatch(word) for word in words)
    lengths = set(map(len, words))
    is_enough = len(words) >= LEAST_TEXTS or max(lengths, default=0) >= _LEAST_DIGITS
    if not is_enough or len(lengths) > 1 or not all(map(_REGISTER.fullmatch, words)):
        return False
    has_digits = 2 * sum(any(map(str.isdigit, word)) for word in words) > len(words)
    if not has_digits or all(map(str.isdecimal, words)):
        return False
    # 21C and 70F are two temperatures, and 0x08FD is no number of any unit, nor is 0x001C.
    split = [split_unit(word) for word in words]
    units = {part[1] for part in split if part and part[1]}
    is_filled = any(word.startswith("00") and not word.isdecimal() for word in words)
    has_digits_behind = any(unit[-1].isdigit() for unit in units)
    are_units = all(is_unit(unit) or (len(unit) == 1 and is_known_unit(unit)) for unit in units)
    return None in split or is_filled or has_digits_behind or not are_units


def decimal_of(numbers: Sequence[str]) -> str | None:
    """What stands before the fraction in numbers written by people; None: a point, no groups."""
    if all(number_text(number) is not None for number in numbers):
        return None
    bare = [_EXPONENT.sub("", number) for number in numbers]
    for number in bare:
        # The last of two signs is the one before the fraction; so is one without three digits
        # behind it.
        last = max(number.rfind(","), number.rfind("."))
        if last >= 0 and ("," in number and "." in number):
            return number[last]
        if last >= 0 and len(number) - last != 4 and number.count(number[last]) == 1:
            return number[last]
    # All have groups of three, or one sign with three digits behind it.
    return "." if any("," in number for number in bare) else ","


def reads(keys: Mapping[str, object], values: Sequence[object]) -> int:
    """How many of these values are readings, or say that there is none, with these keys."""
    try:
        signal = Signal.of("value", ChannelConfig.model_validate(dict(keys)), is_strict=False)
    except ValueError:
        return 0
    return sum(_is_read(signal, value) for value in values)


def writings(values: Sequence[object]) -> Iterator[Keys]:
    """What a channel may have to say so that these texts are read, the likeliest first.

    Not all of what comes reads them: try it.

    Args:
        values: Values of one channel; those that are no texts say nothing.
    """
    texts = list(dict.fromkeys(each for each in values if isinstance(each, str)))
    odd = [text for text in texts if number_text(text) is None and not is_literal(text)]
    missing = [text for text in odd if says_nothing(text)]
    rest = [text for text in odd if not says_nothing(text)]
    keys: Keys = {}
    if missing:
        keys["missing"] = missing[0] if len(missing) == 1 else missing
    words = [text for text in texts if text not in missing and not is_literal(text)]
    if rest and are_hexadecimal(words):
        yield {**keys, "base": 16}
        return
    yield from ({**keys, **each} for each in _numbers_or_words(texts, rest))


def says_nothing(text: str) -> bool:
    """Whether a text says that there is no reading, maybe with a unit behind that."""
    word, _, unit = text.strip().partition(" ")
    return plain(text) in NO_READING or (plain(word) in NO_READING and is_known_unit(unit))


def is_known_unit(text: str) -> bool:
    """Whether a text is a unit as a device may write it."""
    return 0 < len(text) <= _LONGEST_UNIT and is_unit(written(text.strip()))


def states_of(words: Sequence[str]) -> Keys | None:
    """What known words of two states mean as numbers; None where one of them is none."""
    known = {plain(word): word for word in words}
    if not known or any(word not in _STATES for word in known):
        return None
    for first, second in _PAIRS:
        # The other of the two comes sooner or later.
        if set(known) <= {first, second}:
            is_large = all(word.isupper() for word in words)
            pair = [word.upper() if is_large else word for word in (first, second)]
            both = [known.get(plain(word), word) for word in pair]
            return {"states": {both[0]: 1, both[1]: 0}}
    return {"states": {known[word]: _STATES[word] for word in known}}


def are_states(words: Sequence[str], count: int, turns: int) -> bool:
    """Whether words say which state something is in: few of them, that come again.

    Args:
        words: Them, each once.
        count: How often one came.
        turns: How often another one came.
    """
    is_few = 2 <= len(words) <= _MOST_STATES and count >= 2 * len(words) and turns > 0
    return is_few and all(len(word) <= _LONGEST_STATE and is_fit(word.strip()) for word in words)


def unit_keys(suffixes: Sequence[str]) -> Keys | None:
    """What a channel says of units behind its numbers; None where they don't go together.

    All are converted to the first that the others can be converted to; where all are one unit it
    is said only if it isn't known as it is written.

    Args:
        suffixes: What stands behind them, each once.
    """
    if not suffixes:
        return {}
    if any(map(is_power, suffixes)):
        return None
    keys: Keys = {"suffix": suffixes[0] if len(suffixes) == 1 else list(suffixes)}
    names = list(map(written, suffixes))
    if len(suffixes) > 1 or names != list(suffixes):
        kept = alike(suffixes) or common([*names, *suffixes])
        kept = written(kept)
        if not kept:
            return None
        keys["unit"] = without_degree(kept)
    unit = str(keys.get("unit", ""))
    return None if problem(unit, {text: text for text in suffixes}) else keys


def without_degree(unit: str) -> str:
    """A unit of temperature by its letter; any other as it is."""
    return unit.lstrip("°º") or unit


def of_units(values: Sequence[object]) -> bool:
    """Whether most of these values that are something are numbers with known units behind them."""
    full = [value for value in values if value is not None and value != ""]
    split = [split_unit(text) for text in full if isinstance(text, str)]
    units = [part[1] for part in split if part is not None and part[1]]
    return 2 * len(units) > len(full) and all(map(is_known_unit, units))


def of_mixed_units(values: Sequence[object]) -> list[str]:
    """Texts of numbers with units behind them that don't go together; empty where they do.

    Args:
        values: Values of one channel.
    """
    first: dict[str, str] = {}
    texts = [each for each in values if isinstance(each, str) and not says_nothing(each)]
    split = [split_unit(text) for text in texts]
    if 2 * sum(each is not None for each in split) <= len(texts) or are_hexadecimal(texts):
        return []
    for text, each in zip(texts, split, strict=True):
        if each is not None and each[1]:
            first.setdefault(each[1], text)
    is_mixed = len(first) > _MOST_SUFFIXES or unit_keys(list(first)) is None
    return list(first.values())[:_MOST_SUFFIXES] if is_mixed else []


def _numbers_or_words(texts: Sequence[str], rest: Sequence[str]) -> Iterator[Keys]:
    if not rest:
        yield {}
        return
    split: Sequence[tuple[str, str] | None] = [split_unit(text) for text in rest]
    if not all(split):
        split = same_behind(rest) or split
    if all(split):
        numbers = [part[0] for part in split if part]
        suffixes = list(dict.fromkeys(part[1] for part in split if part and part[1]))
        units = unit_keys(suffixes)
        if len(suffixes) <= _MOST_SUFFIXES and units is not None:
            keys: Keys = {}
            plain_numbers = [text for text in texts if number_text(text) is not None]
            if (decimal := decimal_of([*numbers, *plain_numbers])) is not None:
                keys["decimal"] = decimal
            keys = {**({"unit": units["unit"]} if "unit" in units else {}), **keys}
            if suffixes:
                keys["suffix"] = units["suffix"]
            yield keys
            if decimal is not None:
                yield {**keys, "decimal": "," if decimal == "." else "."}
    if (states := states_of(rest)) is not None:
        yield states


def _is_read(signal: Signal, value: object) -> bool:
    if isinstance(value, dict | list):
        return False
    try:
        return signal.odd_value(value)[2] == ""
    except DataError:
        return False

"""What a channel's name says: the unit that it ends with, and whether something is counted."""

from __future__ import annotations

import re

from headgate.config.payload_path import parts_of
from headgate.discover.values import PAIR_VALUES, Keys, is_known_unit, without_degree

#: Units as names end with them, and as they are written.
_UNITS = {
    "degc": "C", "celsius": "C", "c": "C", "tc": "C", "degf": "F", "fahrenheit": "F", "f": "F",
    "tf": "F", "k": "K", "kelvin": "K", "w": "W", "watt": "W", "watts": "W", "kw": "kW", "mw": "mW",
    "kwh": "kWh", "wh": "Wh", "v": "V", "volt": "V", "volts": "V", "mv": "mV", "a": "A", "amp": "A",
    "amps": "A", "ma": "mA", "hz": "Hz", "khz": "kHz", "bar": "bar", "mbar": "mbar", "hpa": "hPa",
    "kpa": "kPa", "pa": "Pa", "psi": "psi", "pct": "%", "percent": "%", "ppm": "ppm", "ppb": "ppb",
    "lux": "lx", "lx": "lx", "db": "dB", "dbm": "dBm", "rpm": "rpm", "mph": "mph", "mm": "mm",
    "cm": "cm", "km": "km", "kmh": "km/h", "kph": "km/h", "ms": "ms", "l": "l", "m3": "m3",
    "m3h": "m3/h",
    "lmin": "l/min", "lpm": "l/min", "kg": "kg", "nm": "Nm", "mms": "mm/s", "rh": "%",
}  # fmt: skip

#: What names have in them that end with a unit of one letter: phase_a is no current.
_OF_LETTERS = {
    "c": ("temp", "dew"), "f": ("temp", "dew"), "k": ("temp",),
    "w": ("power", "watt", "leistung"), "v": ("volt", "spannung", "batt", "supply"),
    "a": ("curr", "amp", "strom"), "l": ("vol", "level", "liter", "litre"),
}  # fmt: skip

#: A unit in brackets at the end of a name: ``Temp [°C]``.
_IN_BRACKETS = re.compile(r"[\[(]([^\[\]()]{1,16})[\])]\s*$")

#: Names as weather stations have them, with the unit of temperature behind, or another one that is
#: no end of a word.
_TEMPERATURE_IN = re.compile(r"(?:temp|dewpt|dewpoint|heatindex|windchill)(?:in|out)?\d*([cf])$")
_GLUED = re.compile(r"(?<=[a-z])(?:mph|kmh|kwh|hpa|rpm|ppm|ppb)$")

#: Words that names of counts have in them.
_COUNTS = frozenset([
    "energy", "energie", "total", "totalizer", "count", "counter", "counts", "pulses", "pieces",
    "parts", "cycles", "starts", "runtime", "hours", "wh", "kwh", "mwh", "zaehler", "teile",
    "zähler", "zaehlerstand", "zählerstand", "betriebsstunden", "laufzeit", "stückzahl", "starts",
    "totale", "compteur", "heures", "pièces", "contador", "energía", "horas", "piezas", "contatore",
    "ore", "pezzi",
])  # fmt: skip

#: What meters call the energy that they count.
_OBIS = re.compile(r"(?:\d+-\d+:)?\d+\.8\.\d+(?:\*\d+)?")

#: Words that are of counts where the unit is one that is counted: production in kWh, and not in kW.
_AMOUNTS = frozenset([
    "consumed", "consumption", "produced", "production", "yield", "import", "export",
    "delivered", "volume", "verbrauch", "bezug", "lieferung", "einspeisung", "ertrag", "erzeugung",
    "consommation", "consumo", "produzione", "producción", "produktion",
])  # fmt: skip
_COUNTED_UNITS = frozenset(
    ["Wh", "kWh", "MWh", "m3", "m³", "l", "kg", "km", "h", "Std", "varh", "kvarh"]
)

#: Words of what is measured at a moment, whatever else the name says.
_MOMENTARY = frozenset([
    "power", "leistung", "watt", "watts", "current", "strom", "amp", "amps", "voltage",
    "spannung", "volt", "volts", "temp", "temperature", "percent", "pct", "level", "pressure",
    "druck", "frequency", "speed", "rate", "flow", "factor", "humidity",
])  # fmt: skip

#: What a word is.
_WORDS = re.compile(r"[A-ZÄÖÜ]?[a-zäöüàâéèêíóúß]+|[A-Z]+(?![a-z])")

#: The last word of a name: behind a sign, or a capital behind small letters.
_LAST_WORD = re.compile(r"(?:[_\s.-]|(?<=[a-z])(?=[A-Z]))([A-Za-z0-9%/°º]+)$")


def unit_of(path: str, keys: Keys) -> str:
    """The unit that stands behind the values, or that the name ends with; empty for none."""
    suffix = keys.get("suffix")
    if isinstance(suffix, str):
        return without_degree(suffix)
    last = parts_of(path)[-1]
    if (said := _IN_BRACKETS.search(last)) and is_known_unit(said[1]):
        return without_degree(said[1].strip())
    return _glued(last) or _last_word(last)


def _glued(name: str) -> str:
    """The unit that a name ends with, without a sign before it."""
    if name in ("tC", "tF"):
        return name[1:]
    if temperature := _TEMPERATURE_IN.search(name.casefold()):
        return temperature[1].upper()
    found = _GLUED.search(name.casefold())
    return "" if found is None else _UNITS[found[0]]


def _last_word(name: str) -> str:
    """The unit that the last word of a name is."""
    found = _LAST_WORD.search(name)
    word = "" if found is None else without_degree(found[1]).casefold()
    if len(word) == 1 and not any(part in name.casefold() for part in _OF_LETTERS.get(word, ())):
        return ""
    return _UNITS.get(word, "")


def is_called_a_count(path: str, unit: str) -> bool:
    """Whether what is called so, in this unit, counts up."""
    parts = parts_of(path)
    name = parts[-2] if len(parts) > 1 and parts[-1] in PAIR_VALUES else parts[-1]
    if _OBIS.fullmatch(name):
        return not unit or unit in _COUNTED_UNITS
    words = {word.casefold() for word in _WORDS.findall(name)}
    if not words.isdisjoint(_MOMENTARY) or (unit and unit not in _COUNTED_UNITS):
        return False
    return not words.isdisjoint(_COUNTS | (_AMOUNTS if unit else frozenset()))

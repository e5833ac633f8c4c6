"""What an alarm says: a rule's text with what it names put in."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headgate.config.named_text import TextPart
from headgate.config.rule import RuleConfig
from headgate.core.text import shortest

#: Stands in a text for a value that is missing.
_MISSING = "?"


def alarm_text(
    rule: RuleConfig, told: Mapping[str, str], numbers: Mapping[str, float] | None = None
) -> str:
    """A rule's text.

    Args:
        rule: The rule.
        told: By name, the texts that may stand in it.
        numbers: By name, the numbers that may; NaN where one is missing.
    """
    return "".join(_put_in(part, told, numbers or {}) for part in rule.parts)


def _put_in(part: TextPart, told: Mapping[str, str], numbers: Mapping[str, float]) -> str:
    if not part.name:
        return part.plain
    if part.name in told:
        return part.plain + told[part.name]
    value = numbers.get(part.name, math.nan)
    if math.isnan(value):
        return part.plain + _MISSING
    if not part.form:
        return part.plain + (shortest(value) if value.is_integer() else f"{value:.6g}")
    number = round(value) if part.form.endswith("d") else value
    return part.plain + format(number, part.form)

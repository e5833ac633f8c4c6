"""What was found of one peer when it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: ``wrong``: somebody must mend something. ``away``: nobody answers; that may pass. ``warning``: it
#: works, or can't be told, and is worth a look.
State = Literal["good", "warning", "away", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about one thing.

    Attributes:
        about: What was asked, as the configuration names it: ``mqtt``, ``feed.pump``, ``log`` …
        state: How it is.
        text: What was found, and what to do where something is to be done.
        details: More, for programs.
    """

    about: str
    state: State
    text: str
    details: dict[str, Any] = field(default_factory=dict)

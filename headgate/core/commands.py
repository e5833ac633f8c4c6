"""Commands that actions give to devices, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headgate.core.channels import Tags

#: What becomes of a command. It was asked for and may be sent at any moment; the broker has taken
#: it; the device has answered; it was not carried out, or nobody knows; nobody was to carry it out.
ASKED: Final = "asked"
SENT: Final = "sent"
ANSWERED: Final = "answered"
FAILED: Final = "failed"
PASSED_OVER: Final = "passed_over"

STATES: Final = (ASKED, SENT, ANSWERED, FAILED, PASSED_OVER)

#: Why a command was passed over: nobody meant it yet; what it is about is too old, or ahead of the
#: gateway's clock, so that nobody knows how old; there were too many; its topic is not allowed, or
#: none.
DRY_RUN: Final = "dry_run"
OLD: Final = "old"
AHEAD: Final = "ahead"
RATE: Final = "rate"
NOT_ALLOWED: Final = "not_allowed"

#: Why a command failed. It was not sent: the broker was away until it was too old, or refused it.
UNREACHABLE: Final = "unreachable"
REFUSED: Final = "refused"
#: Nobody knows whether it was: the broker has not confirmed it, or the gateway ended meanwhile.
UNCONFIRMED: Final = "unconfirmed"
INTERRUPTED: Final = "interrupted"
#: It was: no answer came in time; or too late; or nobody listened for a part of that time.
NO_ANSWER: Final = "no_answer"
LATE: Final = "late"
UNHEARD: Final = "unheard"


@dataclass(frozen=True, slots=True)
class Command:
    """A command to a device, as it is at some time.

    It is emitted when it is asked for and whenever its state changes, with the same identity
    ``(action, id)``; the sinks overwrite.

    Attributes:
        action: Name of the action in the configuration.
        id: Follows from the action and from what it is about, so a replay has the same.
        feed: The device's feed, and so on: of the alarm or anomaly that it is about.
        start_ns: From when on that was so.
        time_ns: Event time at which it opened, or was over.
        is_open: Which of the two.
        state: One of ``STATES``.
        reason: Why it failed or was passed over; otherwise empty.
        detail: More about that, in words; may be empty.
        topic: Where it goes to; empty where it would have none.
        payload: What is sent.
        asked_ns: When it was asked for, ns since 1970 UTC by the gateway's clock.
        sent_ns: When the broker had taken it; 0 where it has not.
        answered_ns: When the answer came; 0 where none has.
        answer: Its beginning, printable.
        tags: What else than its name tells the device, or a part of it, from others.
    """

    action: str
    id: str
    feed: str
    device: str
    rule: str
    model: str
    channel: str
    severity: str
    start_ns: int
    time_ns: int
    is_open: bool
    state: str
    reason: str
    detail: str
    topic: str
    payload: str
    asked_ns: int
    sent_ns: int = 0
    answered_ns: int = 0
    answer: str = ""
    tags: Tags = ()

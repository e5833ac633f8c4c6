"""The errors Headgate raises, sorted by who can do something about them.

::

    HeadgateError
    ├── ConfigError      the user's mistake: shown one problem a line, exit code 2
    ├── TransientError   the outside world is not ready: retry after ``retry_after_s``
    ├── PermanentError   the outside world refused for good: retrying changes nothing
    ├── DataError        this piece of data can't be used: quarantine it with ``reason``
    └── Bug              a promise inside Headgate was broken: stop the process, replay

A message reads ``<where>: expected <what>, got <value>; <what to do>``.
"""

from __future__ import annotations

from collections.abc import Sequence


class HeadgateError(Exception):
    """Base of every error that Headgate raises on purpose."""


class ConfigError(HeadgateError):
    """One or more mistakes in what the user wrote.

    Args:
        problems: One complete line each, already prefixed with where it is.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class TransientError(HeadgateError):
    """The outside world could not do it just now.

    Args:
        message: What was attempted and what came back.
        retry_after_s: Seconds the other side asked us to wait; None when it did not say.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(HeadgateError):
    """The outside world refused, and would refuse the same request again."""


class DataError(HeadgateError):
    """A piece of data that can't be used.

    Args:
        reason: Short fixed word (``"not_json"``, ``"late"``), used as a counter's label.
        detail: What exactly was found, for the person who looks into quarantine.
    """

    # There may be thousands of them a second, of which nobody asks what they read.
    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Bug(HeadgateError):  # noqa: N818  (a word, not a category)
    """An internal promise was broken; the process must stop and replay from the log."""

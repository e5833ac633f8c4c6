"""Every error of the Kafka client has a meaning for the log's callers."""

from __future__ import annotations

import inspect
import ssl

import pytest
from aiokafka import errors

from connectors.logs.kafka.errors import PERMANENT, RAISED, TRANSIENT, error_of, mapped_errors
from headgate.core.errors import PermanentError, TransientError

# The base of what a broker answers has no number of its own, and is never raised.
_ALL = sorted(
    {
        each
        for each in vars(errors).values()
        if inspect.isclass(each)
        and issubclass(each, Exception)
        and each is not errors.BrokerResponseError
    },
    key=lambda each: each.__name__,
)


@pytest.mark.parametrize("error", _ALL, ids=lambda each: each.__name__)
def test_each_error_is_either_transient_or_permanent(error: type[Exception]) -> None:
    """A client release that adds an error makes this fail until somebody has decided."""
    is_retriable = bool(getattr(error, "retriable", False))

    assert is_retriable + (error in TRANSIENT) + (error in PERMANENT) == 1
    assert issubclass(error, RAISED)
    expected = PermanentError if error in PERMANENT else TransientError
    assert isinstance(error_of(error(), "trying"), expected)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(111, "refused"), TransientError),
        (TimeoutError(), TransientError),
        (ssl.SSLError(1, "handshake"), TransientError),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), PermanentError),
    ],
)
def test_errors_of_the_network_are_sorted_too(error: Exception, expected: type[Exception]) -> None:
    """A wrong certificate will not become right by waiting; everything else may."""
    with pytest.raises(expected, match="appending"), mapped_errors("appending"):
        raise error


def test_the_message_says_what_was_attempted_and_what_kafka_said() -> None:
    """One line with the doing, the error's name and its text."""
    error = error_of(errors.TopicAuthorizationFailedError("readings"), "appending to readings/0")

    assert str(error).startswith("appending to readings/0: TopicAuthorizationFailed")
    assert "\n" not in str(error)


def test_other_errors_pass_unchanged() -> None:
    """A mistake in our own code is not dressed up as Kafka's."""
    with pytest.raises(KeyError), mapped_errors("appending"):
        raise KeyError("x")

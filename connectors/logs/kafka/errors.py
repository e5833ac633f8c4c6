"""What Kafka's errors mean for the caller of the log."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka import errors

from headgate.core.errors import HeadgateError, PermanentError, TransientError

#: The same call would be refused again, however often it is made.
PERMANENT: Final[frozenset[type[BaseException]]] = frozenset(
    {
        errors.AuthenticationFailedError,
        errors.AuthenticationMethodNotSupported,
        errors.ClusterAuthorizationFailedError,
        errors.DelegationTokenAuthDisabled,
        errors.DelegationTokenAuthorizationFailed,
        errors.DelegationTokenExpired,
        errors.DelegationTokenNotFound,
        errors.DelegationTokenOwnerMismatch,
        errors.DelegationTokenRequestNotAllowed,
        errors.GroupAuthorizationFailedError,
        errors.GroupIdNotFound,
        errors.IllegalArgumentError,
        errors.IllegalOperation,
        errors.IllegalSaslStateError,
        errors.IllegalStateError,
        errors.IncompatibleBrokerVersion,
        errors.InconsistentGroupProtocolError,
        errors.InvalidCommitOffsetSizeError,
        errors.InvalidConfigurationError,
        errors.InvalidFetchRequestError,
        errors.InvalidGroupIdError,
        errors.InvalidPartitionsError,
        errors.InvalidPrincipalType,
        errors.InvalidReplicationAssignmentError,
        errors.InvalidReplicationFactorError,
        errors.InvalidRequestError,
        errors.InvalidRequiredAcksError,
        errors.InvalidSessionTimeoutError,
        errors.InvalidTimestampError,
        errors.InvalidTopicError,
        errors.InvalidTransactionTimeout,
        errors.InvalidTxnState,
        errors.KafkaConfigurationError,
        errors.MessageSizeTooLargeError,
        errors.NoOffsetForPartitionError,
        errors.NonEmptyGroup,
        errors.OffsetMetadataTooLargeError,
        errors.OffsetOutOfRangeError,
        errors.PolicyViolationError,
        errors.RecordListTooLargeError,
        errors.RecordTooLargeError,
        errors.SaslAuthenticationFailed,
        errors.SecurityDisabled,
        errors.TopicAlreadyExistsError,
        errors.TopicAuthorizationFailedError,
        errors.TransactionalIdAuthorizationFailed,
        errors.UnrecognizedBrokerVersion,
        errors.UnsupportedCodecError,
        errors.UnsupportedForMessageFormatError,
        errors.UnsupportedSaslMechanismError,
        errors.UnsupportedVersionError,
    }
)

#: Time, a new connection or a new producer can mend these. Those that aiokafka itself calls
#: retriable belong here too and are not listed.
TRANSIENT: Final[frozenset[type[BaseException]]] = frozenset(
    {
        # The base stands for whatever goes wrong that the client has no name for.
        errors.KafkaError,
        errors.BrokerNotAvailableError,
        errors.CommitFailedError,
        errors.ConcurrentTransactions,
        errors.ConsumerStoppedError,
        errors.CorruptRecordException,
        errors.DuplicateSequenceNumber,
        errors.FetchSessionIdNotFound,
        errors.IllegalGenerationError,
        errors.InvalidFetchSessionEpoch,
        errors.InvalidProducerEpoch,
        errors.InvalidProducerIdMapping,
        errors.KafkaTimeoutError,
        errors.KafkaUnavailableError,
        errors.ListenerNotFound,
        errors.LogDirNotFound,
        errors.MemberIdRequired,
        errors.NoError,
        errors.OperationNotAttempted,
        errors.OutOfOrderSequenceNumber,
        errors.ProducerClosed,
        errors.ProducerFenced,
        errors.QuotaViolationError,
        errors.ReassignmentInProgress,
        errors.RebalanceInProgressError,
        errors.ReplicaNotAvailableError,
        errors.StaleControllerEpochError,
        errors.StaleLeaderEpochCodeError,
        errors.TransactionCoordinatorFenced,
        errors.UnknownError,
        errors.UnknownMemberIdError,
        errors.UnknownProducerId,
    }
)

#: Everything a Kafka client may raise because of the world outside.
RAISED: Final = (
    errors.KafkaError,
    errors.ConsumerStoppedError,
    errors.IllegalOperation,
    OSError,
    asyncio.TimeoutError,
)


def error_of(error: BaseException, doing: str) -> HeadgateError:
    """The error for the caller.

    Args:
        error: One of ``RAISED``.
        doing: What was attempted, for the message: ``"appending to readings/0"``.
    """
    name = type(error).__name__
    detail = f"{doing}: {name}" + (f": {error}" if str(error) else "")
    if type(error) in PERMANENT or isinstance(error, ssl.SSLCertVerificationError):
        return PermanentError(detail)
    return TransientError(detail)


@contextmanager
def mapped_errors(doing: str) -> Iterator[None]:
    """Raise what ``error_of`` says instead of the client's errors."""
    try:
        yield
    except RAISED as error:
        raise error_of(error, doing) from error

"""From when until when a certificate is valid, read from its bytes.

Python's ``ssl`` tells it only of certificates that a peer has sent and that were found valid. So
the few bytes before it are stepped over here, as X.509 (RFC 5280, section 4.1) has them.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----", re.ASCII
)

#: Tags of ASN.1: ``[0]``, which is a certificate's version, and two ways to write a time.
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when, both in UTC."""

    not_before: datetime
    not_after: datetime


def validities(pem: str) -> list[Validity]:
    """Those of all certificates in a PEM file, in order.

    Raises:
        ValueError: There is none, or one can't be read.
    """
    found = [validity(ssl.PEM_cert_to_DER_cert(text)) for text in _PEM.findall(pem)]
    if not found:
        raise ValueError("expected PEM certificates, found none")
    return found


def validity(der: bytes) -> Validity:
    """That of one certificate.

    Args:
        der: The certificate as DER.

    Raises:
        ValueError: It is none.
    """
    try:
        _, at, _ = _field(der, 0)  # the certificate
        _, at, _ = _field(der, at)  # what of it is signed
        tag, _, end = _field(der, at)
        if tag == _VERSION:
            at = end
        for _ in range(3):  # serial number, algorithm, issuer
            _, _, at = _field(der, at)
        _, at, _ = _field(der, at)
        first, second = _field(der, at), _field(der, _field(der, at)[2])
        return Validity(_time(der, *first), _time(der, *second))
    except (IndexError, ValueError) as error:
        raise ValueError("expected a certificate, found something else") from error


def _field(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the field at this position, where its content begins, and where it ends."""
    length, begin = der[at + 1], at + 2
    if length > 127:
        size = length & 127
        length = int.from_bytes(der[begin : begin + size], "big")
        begin += size
    if begin + length > len(der):
        raise ValueError("cut off")
    return der[at], begin, begin + length


def _time(der: bytes, tag: int, begin: int, end: int) -> datetime:
    text = der[begin:end].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)

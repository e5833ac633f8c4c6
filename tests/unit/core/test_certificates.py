"""When certificates end is read from their bytes, and no bytes break the reading."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.certificates import Validity, validities, validity


def _field(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _certificate(
    first: bytes, last: bytes, *, has_version: bool = True, issuer: bytes = b"i" * 200
) -> bytes:
    version = _field(0xA0, _field(2, b"\x02")) if has_version else b""
    signed = (
        version
        + _field(2, b"\x01" * 20)
        + _field(0x30, b"algorithm")
        + _field(0x30, issuer)
        + _field(0x30, first + last)
        + _field(0x30, b"s" * 70_000)
    )
    return _field(0x30, _field(0x30, signed) + _field(0x30, b"") + _field(3, b"\0"))


_FIRST, _LAST = _field(0x17, b"500102030405Z"), _field(0x18, b"20501231235959Z")
_VALIDITY = Validity(
    datetime(1950, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2050, 12, 31, 23, 59, 59, tzinfo=UTC)
)


@pytest.mark.parametrize("has_version", [True, False])
def test_both_ways_to_write_a_time_are_read(has_version: bool) -> None:
    """Two digits of the year count from 1950 on, four as they are."""
    assert validity(_certificate(_FIRST, _LAST, has_version=has_version)) == _VALIDITY
    young = _certificate(_field(0x17, b"490102030405Z"), _LAST)
    assert validity(young).not_before.year == 2049


def test_every_certificate_of_a_file_is_read() -> None:
    """Whatever else stands in it, such as keys and comments."""
    body = base64.encodebytes(_certificate(_FIRST, _LAST)).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"

    assert validities(f"subject=x\n{pem}-----BEGIN PRIVATE KEY-----\n{pem}") == [_VALIDITY] * 2
    with pytest.raises(ValueError, match="found none"):
        validities("")


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda x: _field(0x30, x))))
def test_no_bytes_break_it(der: bytes) -> None:
    """What is no certificate is said to be none."""
    with pytest.raises(ValueError, match="expected a certificate"):
        validity(der)

"""Some bits of a number, and what is no hexadecimal text, the fast way and the careful one."""

from __future__ import annotations

import pytest

from tests.unit.formats.test_lines_and_frames import Decoding


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("field", "frame", "value"),
    [
        ({"type": "i16", "bit": 0, "bits": 12}, "3fff", -1),
        ({"type": "i16", "bit": 0, "bits": 12}, "37ff", 2047),
        ({"type": "i16", "bit": 0, "bits": 12}, "3800", -2048),
        ({"type": "i16", "bit": 4, "bits": 12}, "ff3f", -13),
        ({"type": "i24", "bit": 3, "bits": 20}, "400007", -(2**19)),
        ({"type": "i64", "bit": 0, "bits": 64}, "fffffffffffffffe", -2),
        ({"type": "i64", "bit": 62, "bits": 2}, "8000000000000000", -2),
        ({"type": "u16", "bit": 0, "bits": 12}, "3fff", 4095),
        ({"type": "u64", "bit": 0, "bits": 64}, "8000000000000000", 2**63),
        ({"type": "i8", "bit": 7}, "80", 1),
        ({"type": "i8", "bit": 7, "bits": 1}, "80", 1),
    ],
)
def test_bits_of_a_signed_type_have_a_sign(
    field: dict[str, object], frame: str, value: float, *, is_typed: bool
) -> None:
    """That of their width, not of the type's; a single one has none."""
    form = {"type": "binary", "fields": {"x": {"at": 1, **field}}}
    payload = b"\0" + bytes.fromhex(frame)
    found = Decoding(payload, is_typed=is_typed, format=form, channels={"x": {}})
    assert found.readings == [("x", value)]


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"0x0", "an odd number of digits, 1; each byte has two"),
        (b"00 0", "an odd number of digits, 3; each byte has two"),
        (b"0xG", "'G' at place 3 is no hexadecimal digit"),
        (b'"0xFF:0x0G 00"', "'G' at place 10 is no hexadecimal digit"),
        (b' "00"FF"', "'\"' at place 5 is no hexadecimal digit"),
        (b"0xx0", "'x' at place 3 is no hexadecimal digit"),
        (b"00\xff\xff", "byte 0xff at place 3 is no hexadecimal digit"),
        (b"00\x0b0", "'\\x0b' at place 3 is no hexadecimal digit"),
    ],
)
def test_what_is_no_hexadecimal_text_is_told(payload: bytes, told: str, *, is_typed: bool) -> None:
    """By its place in the text as it came, whatever may stand around digits."""
    form = {"type": "binary", "encoding": "hex", "fields": {"x": {"at": 0, "type": "u8"}}}
    found = Decoding(payload, is_typed=is_typed, format=form, channels={"x": {}})
    assert found.refused == [f"not_binary: no hex text: {told}"]

"""What the values of Sparkplug's data types become."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

import connectors.formats.sparkplug
from connectors.formats.sparkplug.schema import parsed
from connectors.formats.sparkplug.values import value_of
from headgate.core.errors import DataError
from tests.unit.formats.sparkplug.host import Host, metric, ndata, payload

_FOLDER = Path(connectors.formats.sparkplug.__file__).parent

#: DDATA messages of one metric as pysparkplug 0.6.1 writes them, and what it was given.
_WRITTEN: dict[str, tuple[str, object]] = {
    "Int8": ("0880d0eab6b733120f0a016d1880d0eab6b733200150fe011801", -2),
    "Int16": ("0880d0eab6b73312100a016d1880d0eab6b733200250d4fd031801", -300),
    "Int32": ("0880d0eab6b73312120a016d1880d0eab6b73320035090ddfbff0f1801", -70000),
    "Int64": ("0880d0eab6b73312170a016d1880d0eab6b733200458809ce8afedffffffff011801", -5000000000),
    "UInt8": ("0880d0eab6b733120f0a016d1880d0eab6b733200550c8011801", 200),
    "UInt16": ("0880d0eab6b73312100a016d1880d0eab6b733200650ffff031801", 65535),
    "UInt32": ("0880d0eab6b73312120a016d1880d0eab6b733200750ffffffff0f1801", 4294967295),
    "UInt64": ("0880d0eab6b73312150a016d1880d0eab6b73320085880808080808080101801", 2**53),
    "Float": ("0880d0eab6b73312110a016d1880d0eab6b7332009650000003f1801", 0.5),
    "Double": ("0880d0eab6b73312150a016d1880d0eab6b733200a69039300aa4bdd3dfe1801", -1.25e300),
    "Boolean": ("0880d0eab6b733120e0a016d1880d0eab6b733200b70011801", True),
    "String": ("0880d0eab6b73312120a016d1880d0eab6b733200c7a0432312e351801", "21.5"),
    "DateTime": ("0880d0eab6b73312130a016d1880d0eab6b733200d5880d0eab6b7331801", 1767225600000),
    "Text": ("0880d0eab6b73312120a016d1880d0eab6b733200e7a0469646c651801", "idle"),
    "Bytes": ("0880d0eab6b73312110a016d1880d0eab6b733201182010201021801", b"\x01\x02"),
    "Int8Array": ("0880d0eab6b73312110a016d1880d0eab6b7332016820102ff021801", [-1, 2]),
    "Int16Array": ("0880d0eab6b73312130a016d1880d0eab6b7332017820104ffff02001801", [-1, 2]),
    "Int32Array": (
        "0880d0eab6b73312170a016d1880d0eab6b7332018820108ffffffff020000001801",
        [-1, 2],
    ),
    "Int64Array": (
        "0880d0eab6b733121f0a016d1880d0eab6b7332019820110ffffffffffffffff02000000000000001801",
        [-1, 2],
    ),
    "UInt8Array": ("0880d0eab6b73312110a016d1880d0eab6b733201a820102ff021801", [255, 2]),
    "UInt16Array": ("0880d0eab6b73312130a016d1880d0eab6b733201b820104ffff02001801", [65535, 2]),
    "UInt32Array": (
        "0880d0eab6b73312170a016d1880d0eab6b733201c820108ffffffff020000001801",
        [4294967295, 2],
    ),
    "UInt64Array": (
        "0880d0eab6b733121f0a016d1880d0eab6b733201d820110000000000000200002000000000000001801",
        [2**53, 2],
    ),
    "FloatArray": (
        "0880d0eab6b73312170a016d1880d0eab6b733201e8201080000003f000000401801",
        [0.5, 2.0],
    ),
    "DoubleArray": (
        "0880d0eab6b733121f0a016d1880d0eab6b733201f820110000000000000d03f00000000000000401801",
        [0.25, 2.0],
    ),
    "BooleanArray": (
        "0880d0eab6b73312150a016d1880d0eab6b73320208201060900000034801801",
        [False, False, True, True, False, True, False, False, True],
    ),
    "StringArray": ("0880d0eab6b73312130a016d1880d0eab6b7332021820104610037001801", ["a", "7"]),
    "DateTimeArray": (
        "0880d0eab6b73312170a016d1880d0eab6b733202282010800a8da769b0100001801",
        [1767225600000],
    ),
    "null": ("0880d0eab6b733120e0a016d1880d0eab6b733200a38011801", None),
}


def _value(**fields: object) -> object:
    read = parsed("Payload", payload([fields])).metrics[0]
    return value_of(read, read.datatype)


@pytest.mark.parametrize("name", _WRITTEN)
def test_a_value_is_what_another_program_wrote(name: str) -> None:
    """Of each data type."""
    written, wanted = _WRITTEN[name]
    (read,) = parsed("Payload", bytes.fromhex(written)).metrics

    found = value_of(read, read.datatype)

    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("datatype", "bits", "value"),
    [(1, 0xFE, -2), (1, 0xFFFFFFFE, -2), (2, 0xFFFF8000, -32768), (3, 0x80000000, -(2**31))],
)
def test_a_signed_number_may_fill_its_own_bits_or_the_fields(
    datatype: int, bits: int, value: int
) -> None:
    """Both are seen."""
    assert _value(name="m", datatype=datatype, int_value=bits) == value


def test_a_number_of_unknown_type_is_no_value() -> None:
    """4294967295 may be -1; a float is what it is."""
    with pytest.raises(DataError, match="unknown_type"):
        _value(name="m", int_value=4294967295)
    with pytest.raises(DataError, match="unknown_type"):
        _value(name="m", bytes_value=b"\1")
    assert _value(name="m", double_value=0.5) == 0.5


@pytest.mark.parametrize(
    ("datatype", "content"), [(24, b"12345"), (32, b"\1"), (32, b"\x09\0\0\0\xff")]
)
def test_an_array_of_odd_length_is_none(datatype: int, content: bytes) -> None:
    """Whatever is missing."""
    with pytest.raises(DataError, match="not_sparkplug"):
        _value(name="m", datatype=datatype, bytes_value=content)


def _nested(kind: str, **fields: object) -> bytes:
    content: bytes = type(parsed(kind, b""))(**fields).SerializeToString()
    return content


def test_tables_templates_and_arrays_are_reached_by_paths() -> None:
    """As what stands in JSON is; a channel that is a whole one of them is a bad field."""
    rows = [{"elements": [{"int_value": 0xFFFFFFFF}, {"float_value": 2.5}]}]
    table = _nested("DataSet", columns=["a", "b"], types=[3, 9], rows=rows)
    inner = _nested("Template", metrics=[metric("Speed", 7.5)])
    outer = _nested("Template", metrics=[{"name": "Motor", "template_value": inner}])
    host = Host(
        {
            "a": {"path": "Table.0.a"},
            "b": {"path": "Table.0.b"},
            "speed": {"path": "Pump.Motor.Speed"},
            "second": {"path": "Array.1"},
            "whole": {"path": "Pump"},
        }
    )
    found = host.take(
        ndata(
            {"name": "Table", "datatype": 16, "dataset_value": table},
            {"name": "Pump", "datatype": 19, "template_value": outer},
            {"name": "Array", "datatype": 22, "bytes_value": b"\1\xff"},
            seq=1,
        )
    )
    assert [each[1:] for each in found] == [
        ("a", -1.0),
        ("b", 2.5),
        ("speed", 7.5),
        ("second", -1.0),
        ("whole", None),
    ]
    assert host.bad == {("whole", "object"): 1}


def test_a_table_whose_rows_are_not_as_wide_as_it_is_refused() -> None:
    """Nothing of it can be told."""
    table = _nested("DataSet", columns=["a", "b"], types=[3], rows=[])
    with pytest.raises(DataError, match="not_sparkplug"):
        _value(name="m", datatype=16, dataset_value=table)


def test_what_stands_too_deep_or_is_too_long_is_refused() -> None:
    """Before it is made."""
    content = b""
    for _ in range(10):
        content = _nested("Template", metrics=[{"name": "t", "template_value": content}])
    with pytest.raises(DataError, match="too_deep"):
        _value(name="m", datatype=19, template_value=content)
    with pytest.raises(DataError, match="too_many_records"):
        _value(name="m", datatype=22, bytes_value=bytes(70_000))


def test_the_compiled_schema_is_what_the_file_says() -> None:
    """Each field of each message, with its number and type."""
    text = re.sub(r"//.*", "", (_FOLDER / "sparkplug_b.proto").read_text())
    written = re.findall(r"(?:(?:optional|repeated) )?(\w+) (\w+) = (\d+);", text)
    compiled = descriptor_pb2.FileDescriptorSet.FromString(
        (_FOLDER / "sparkplug_b.desc").read_bytes()
    )
    types = descriptor_pb2.FieldDescriptorProto.Type
    found = []
    messages = list(compiled.file[0].message_type)
    while messages:
        message = messages.pop(0)
        messages[:0] = message.nested_type
        for each in message.field:
            kind = types.Name(each.type).removeprefix("TYPE_").lower()
            name = each.type_name.rpartition(".")[2] if kind == "message" else kind
            found.append((name, each.name, str(each.number)))
    assert sorted(found) == sorted(each for each in written if each[0] != "syntax")
    assert len(found) > 30

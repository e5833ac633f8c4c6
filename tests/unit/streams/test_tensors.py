"""Arrays are read back as they were, by the library whose format it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from safetensors.numpy import load

from streams.process.tensors import pack

_KINDS = st.sampled_from(
    ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8"]
)

_ARRAYS = st.dictionaries(
    st.text(max_size=12).filter(lambda name: name != "__metadata__"),
    _KINDS.flatmap(
        lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, min_side=0))
    ),
    max_size=6,
)


@given(_ARRAYS)
def test_what_is_packed_is_read_back(arrays: dict[str, NDArray[Any]]) -> None:
    """All types, shapes and names, also those that the library itself has to write."""
    found = load(pack(arrays))

    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()

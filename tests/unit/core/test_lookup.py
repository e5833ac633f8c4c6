"""What is known of each channel, while the table of channels grows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.channels import Channel, ChannelTable
from headgate.core.lookup import ByChannel


@given(st.lists(st.integers(0, 90), max_size=8), st.data())
def test_each_channel_is_looked_up_once(sizes: list[int], data: st.DataObject) -> None:
    """Whatever is asked for while the table grows, and the answers are those of a whole look."""
    channels, seen = ChannelTable(), []

    def value_of(channel: Channel) -> int:
        seen.append(channel)
        return int(channel.device) * 7

    values = ByChannel(channels, np.int32, value_of)
    for size in sizes:
        for number in range(len(channels), len(channels) + size):
            channels.row(Channel("f", str(number), "f", "x"))
        valid = st.integers(0, max(len(channels) - 1, 0))
        rows = data.draw(st.lists(valid, max_size=20 if len(channels) else 0))
        found = values[np.array(rows, np.int32)]

        assert found.tolist() == [row * 7 for row in rows]
        assert found.dtype == np.int32
    assert seen == channels.channels

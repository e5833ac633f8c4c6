"""The cleaning rules that come with Headgate, by their keys in a channel's table.

Of those that look at the same, one speaks after the other in this order, and those of other
packages after them. One more is a folder beside these and a line here; see
``streams.stages.clean.rule`` for what is in it.
"""

from __future__ import annotations

BUILT_IN = {
    "range": "streams.stages.clean.rules.range.rule:RANGE",
    "spike": "streams.stages.clean.rules.spike.rule:SPIKE",
    "stuck_after": "streams.stages.clean.rules.stuck_after.rule:STUCK_AFTER",
    "gap": "streams.stages.clean.rules.gap.rule:GAP",
}

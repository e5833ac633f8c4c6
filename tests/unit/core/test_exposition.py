"""The page of metrics is the one that Prometheus' own client makes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    enable_created_metrics,
    generate_latest,
)

from headgate.core.exposition import Page

_TEXTS = st.text(max_size=8)
_NUMBERS = st.floats()

#: What happens to the metrics before each look: which, with what label, and a number.
_STEPS = st.lists(
    st.lists(st.tuples(st.sampled_from(["gauge", "counter", "histogram"]), _TEXTS, _NUMBERS)),
    max_size=4,
)


@pytest.fixture(autouse=True, scope="module")
def _as_in_lanes() -> Iterator[None]:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    yield
    enable_created_metrics()  # type: ignore[no-untyped-call]


@given(_STEPS, _TEXTS)
def test_page_is_what_the_client_makes_whatever_has_happened(
    steps: list[list[tuple[str, str, float]]], documentation: str
) -> None:
    """Labels that come later, all characters in them, and all numbers."""
    registry = CollectorRegistry()
    plain = Gauge("plain", documentation, registry=registry)
    gauge = Gauge("gauge", documentation, ["b", "a"], registry=registry)
    counter = Counter("counter", documentation, ["name"], registry=registry)
    histogram = Histogram(
        "histogram", "Spread.", ["name"], buckets=(0.001, 1, 1e9), registry=registry
    )
    page = Page(registry)

    for step in steps:
        for kind, label, number in step:
            plain.set(number)
            if kind == "gauge":
                gauge.labels(label, "x").set(number)
            elif kind == "counter" and number >= 0:
                counter.labels(label).inc(number)
            elif kind == "histogram":
                histogram.labels(label).observe(number)
        assert page.text() == generate_latest(registry).decode()


def test_labels_that_are_gone_leave_the_page() -> None:
    """One goes and another comes: so many lines as before, and none of the old ones."""
    registry = CollectorRegistry()
    gauge = Gauge("gauge", "Number.", ["name"], registry=registry)
    page = Page(registry)
    gauge.labels("old").set(1)
    assert 'gauge{name="old"} 1.0' in page.text()

    gauge.remove("old")
    gauge.labels("new").set(math.inf)

    assert page.text().splitlines()[-1] == 'gauge{name="new"} +Inf'
    assert "old" not in page.text()

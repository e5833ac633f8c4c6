"""Many messages of edge nodes at once: read together, and taken note of one after the other.

What stands in payloads is scanned for all of them (``wire.py``). Then each message is taken note of
in its order, as when it is read by itself: what its aliases mean is what they meant then. So its
metrics become readings, as columns. Messages in which something wanted is neither a plain number
nor a text are read by themselves when all others are done: with what was noted of them, and without
being noted again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.formats.bounds import no_garbage_collection, pieces_of
from connectors.formats.format import NOTHING, Stated, Typed, Unlisted, Wanted
from connectors.formats.sparkplug.address import Address, address_of
from connectors.formats.sparkplug.columns import NOBODYS, ODD, Kinds, in_order, numbers_of
from connectors.formats.sparkplug.fields import INT, LONG, Columns, Scanned
from connectors.formats.sparkplug.names import Names
from connectors.formats.sparkplug.nodes import NO_METRICS, Metrics
from connectors.formats.sparkplug.text_metrics import TextMetrics
from connectors.formats.sparkplug.wire import scan
from connectors.formats.tables import are_too_many
from headgate.config.payload_path import key_of
from headgate.core.errors import DataError

if TYPE_CHECKING:
    from connectors.formats.sparkplug.format import SparkplugFormat

#: Payloads that are scanned together have so many bytes at most, or are one. A longer one than the
#: last is read by itself, which looks first at what it would cost.
_TOGETHER_BYTES, _LONGEST = 256 << 10, 8 << 10

#: So few messages are read one by one.
_LEAST: Final = 8

#: What births say of their metrics is kept once for all that say the same: of so many metrics, and
#: as long as their names have so many bytes.
_MOST_METRICS: Final = 20_000
_MOST_NAMES_BYTES: Final = 2 << 20

#: Longer topics are taken apart each time.
_LONGEST_TOPIC: Final = 256

#: Aliases of this size and more are looked up one by one, when their message is read by itself.
_LEAST_LARGE: Final = 1 << 32

#: What tells a birth's death from those of others, where it is one of these.
_BD_SEQ, _WHOLE = b"bdSeq", (INT, LONG)


class _Told(NamedTuple):
    """What a topic says.

    Attributes:
        address: Whose message it is; None for nobody's.
        said: What the device's name is made of.
        birth: What a birth states; None for other messages.
        trouble: Why it is none.
    """

    address: Address | None
    said: Any = None
    birth: Stated | None = None
    trouble: DataError | None = None


#: What was noted of a message: what its aliases mean, what it holds, or why it is refused.
_Noted: TypeAlias = object


class SparkplugTable:
    """Reads messages of one feed; see ``MakeOrdered``.

    Args:
        form: The format, which has what was noted before.
        wanted: What is looked for.
        places: By the name of a metric, its channel's place; or ``ODD``.
        most_topics: So many are remembered.
    """

    def __init__(
        self,
        form: SparkplugFormat,
        wanted: Wanted,
        places: Mapping[str, int],
        most_topics: int,
    ) -> None:
        self._form = form
        numbers = len(wanted.channels)
        self._kinds = kinds = Kinds(numbers, numbers + len(wanted.texts))
        takes_others = wanted.others_take_truth is not None
        self._names = Names(places, kinds.first_other if takes_others else None)
        truths = [*wanted.takes_truth, *(True for _ in wanted.texts)]
        self._takes_truth = np.array([*truths, bool(wanted.others_take_truth)], np.bool_)
        self._texts = TextMetrics([text_of for _, text_of in wanted.texts], kinds)
        names = [key_of(path) for path in wanted.names]
        self._said = itemgetter(*names) if names else None
        self._is_named_alone = form.is_named_alone
        self._topics: dict[bytes, _Told] = {}
        self._most_topics = most_topics
        # By what births say of their metrics, what that means; how many metrics these are, and the
        # bytes of their names.
        self._births: dict[object, Metrics] = {}
        self._count = self._names_bytes = 0

    def decode(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """Decode messages in their order; never raises for what they hold."""
        told = [self._topics.get(topic) or self._told(topic) for topic in topics]
        noted: list[_Noted] = []
        is_taken = np.zeros(len(topics), np.bool_)
        if len(topics) < _LEAST:
            noted += map(self._note_alone, told, payloads)
            return self._typed(told, noted, payloads, is_taken, [_NOTHING])
        self._names.begin()
        pieces = []
        with no_garbage_collection():
            for first, end in pieces_of(payloads, _TOGETHER_BYTES):
                piece = slice(first, end)
                found = self._piece(told[piece], payloads[piece], noted, is_taken[piece])
                pieces.append(found._replace(owner=found.owner + first))
        return self._typed(told, noted, payloads, is_taken, pieces)

    def _typed(
        self,
        told: Sequence[_Told],
        noted: Sequence[_Noted],
        payloads: Sequence[bytes],
        is_taken: NDArray[np.bool_],
        pieces: Sequence[_Readings],
    ) -> Typed:
        *parts, _ = zip(*pieces, strict=True)
        time_ms, which, value, is_text, owner = (
            each[0] if len(each) == 1 else np.concatenate(each) for each in parts
        )
        texts = {code: text for each in pieces for code, text in each.texts.items()}
        taken = np.flatnonzero(is_taken).tolist()
        unlisted = None
        if self._names.listed is not None:
            is_doubted = self._doubted(told, noted, is_taken)[owner]
            unlisted = Unlisted(self._names.others, is_text, is_doubted)
        return Typed(
            owner,
            time_ms,
            None if self._said is None else [told[at].said for at in taken],
            value[:, None],
            np.zeros((len(owner), 1), np.bool_),
            np.flatnonzero(~is_taken).tolist(),
            has_arrays=True,
            is_one_each=False,
            which=which,
            texts=texts,
            is_named_once=True,
            stated=[(at, birth) for at in taken if (birth := told[at].birth) is not None],
            read=partial(self._read, told, noted, payloads),
            unlisted=unlisted,
        )

    def _doubted(
        self, told: Sequence[_Told], noted: Sequence[_Noted], is_taken: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Of which messages others are read by themselves that may be of the same device."""
        left = [at for at in np.flatnonzero(~is_taken).tolist() if isinstance(noted[at], Metrics)]
        if not left or not self._is_named_alone:
            return np.full(len(told), bool(left))
        said = {told[at].said for at in left}
        return np.array([each.said in said for each in told], np.bool_)

    def _read(
        self, told: Sequence[_Told], noted: Sequence[_Noted], payloads: Sequence[bytes], at: int
    ) -> object:
        """What a message holds of which note was taken; see ``Typed``."""
        known, address = noted[at], told[at].address
        if isinstance(known, DataError):
            raise known
        if not isinstance(known, Metrics) or address is None:
            return known
        return self._form.content(address, self._form.parsed(payloads[at]), known)

    def _piece(
        self,
        told: Sequence[_Told],
        payloads: Sequence[bytes],
        noted: list[_Noted],
        is_taken: NDArray[np.bool_],
    ) -> _Readings:
        """The readings of some messages.

        Args:
            told: What their topics say.
            payloads: Their payloads.
            noted: What is noted of them is added to it.
            is_taken: bool[payload], is set where all of a message is in what is returned.
        """
        seen = payloads
        if max(map(len, payloads), default=0) > _LONGEST:
            seen = [each if len(each) <= _LONGEST else b"" for each in payloads]
        scanned = scan(seen)
        names, found = scanned.names(), scanned.metrics
        before = len(noted)
        is_taken[:] = self._note(told, payloads, scanned, names, noted)
        which, types = self._meant(noted[before:], found, names, is_taken)
        numbers = numbers_of(found, which, types, self._takes_truth, self._kinds)
        odd, texts = self._texts.read(found, which, types, scanned.text, numbers.value)
        is_taken[found.owner[numbers.is_odd]] = False
        is_taken[found.owner[odd]] = False
        rows = in_order(found, which, is_taken, self._kinds.first_other)
        counts = np.bincount(found.owner[rows], minlength=len(payloads))
        # What a birth states is counted, too.
        is_taken &= ~are_too_many(counts + 1, self._form.check_count)
        for at in np.flatnonzero(is_taken & (counts == 0)).tolist():
            address = told[at].address
            if address is not None and address.is_data:
                noted[before + at] = NOTHING
        is_taken &= counts > 0
        rows = rows[is_taken[found.owner[rows]]]
        return _Readings(
            found.time_ms[rows],
            which[rows],
            numbers.value[rows],
            numbers.is_text[rows],
            found.owner[rows],
            texts,
        )

    def _told(self, topic: bytes) -> _Told:
        """What a topic says that is not known."""
        try:
            address = address_of(topic)
        except DataError as error:
            return _Told(None, trouble=error.with_traceback(None))
        told = _Told(address)
        if address is not None:
            names = self._form.names_of(address, is_historical=False)
            said = None if self._said is None else self._said(names)
            told = _Told(address, said, self._form.birth_of(address) if address.is_birth else None)
        if len(topic) <= _LONGEST_TOPIC:
            if len(self._topics) >= self._most_topics:
                self._topics.clear()
            self._topics[topic] = told
        return told

    def _note(
        self,
        told: Sequence[_Told],
        payloads: Sequence[bytes],
        found: Scanned,
        names: Sequence[bytes],
        noted: list[_Noted],
    ) -> list[bool]:
        """Take note of messages in their order; of each, whether it may be taken from columns."""
        is_read, seqs = found.is_read.tolist(), found.seq.tolist()
        metrics_of = self._form.nodes.metrics_of
        may_be: list[bool] = []
        for at, each in enumerate(told):
            address = each[0]
            is_plain = False
            note: _Noted = None
            if address is not None and is_read[at]:
                if address.is_data:
                    # That there is no number is as far from the next one as it can be.
                    note, is_plain = metrics_of(address.node, address.device, seqs[at]), True
                elif address.is_birth:
                    note = self._note_birth(address, at, found, names)
                    is_plain = note is NO_METRICS
            noted.append(self._note_alone(each, payloads[at]) if note is None else note)
            may_be.append(is_plain)
        return may_be

    def _note_alone(self, told: _Told, payload: bytes) -> _Noted:
        """Take note of a message that is read by itself."""
        address = told.address
        if address is None:
            return told.trouble or NOTHING
        try:
            return self._form.noted(address, self._form.message(address, payload))
        except DataError as error:
            return error.with_traceback(None)

    def _note_birth(
        self, address: Address, at: int, found: Scanned, names: Sequence[bytes]
    ) -> _Noted:
        """Take note of a birth; None where it has metrics that are read by themselves."""
        rows = slice(int(found.first[at]), int(found.first[at + 1]))
        its_names = names[rows]
        # There are no names at all where no metric has one.
        if len(its_names) < rows.stop - rows.start or not all(its_names):
            return None
        bd_seq = None
        if not address.device and _BD_SEQ in its_names:
            kinds, bits = found.metrics.kind[rows].tolist(), found.metrics.bits[rows].tolist()
            values = zip(its_names, kinds, bits, strict=True)
            numbers = (each for name, kind, each in values if name == _BD_SEQ and kind in _WHOLE)
            bd_seq = next(numbers, None)
        seq = int(found.seq[at])
        born = self._born(its_names, found.metrics.alias[rows], found.metrics.datatype[rows])
        try:
            self._form.note_birth(address, None if seq < 0 else seq, bd_seq, born)
        except DataError as error:
            return error.with_traceback(None)
        return NO_METRICS

    def _born(
        self, names: Sequence[bytes], aliases: NDArray[np.int64], types: NDArray[np.int64]
    ) -> Metrics:
        """What a birth says of its metrics, by their names, aliases (below 0: none) and types."""
        key = (tuple(names), aliases.tobytes(), types.tobytes())
        known = self._births.get(key)
        if known is None:
            texts = [name.decode() for name in names]
            said = zip(texts, aliases.tolist(), types.tolist(), strict=True)
            known = self._form.metrics_by(
                (name, None if alias < 0 else alias, datatype) for name, alias, datatype in said
            )
            self._count += len(names)
            self._names_bytes += sum(map(len, names))
            if self._count > _MOST_METRICS or self._names_bytes > _MOST_NAMES_BYTES:
                self._births, self._count, self._names_bytes = {}, 0, 0
            else:
                self._births[key] = known
        return known

    def _meant(
        self,
        noted: Sequence[_Noted],
        found: Columns,
        names: Sequence[bytes],
        is_taken: NDArray[np.bool_],
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Which channel each metric is of, and its data type, 0 where nobody said it."""
        which = np.full(len(found.owner), NOBODYS, np.intp)
        types = found.datatype.copy()
        is_looked_at, is_named = is_taken[found.owner], found.name_size > 0
        if len(rows := np.flatnonzero(is_looked_at & ~is_named)):
            self._look_up(noted, found, rows, which, types)
        if len(rows := np.flatnonzero(is_looked_at & is_named)):
            places = self._names.places
            which[rows] = [places[names[row]] for row in rows.tolist()]
            owner = found.owner
            for row in rows[(which[rows] >= 0) & (types[rows] == 0)].tolist():
                known = noted[owner[row]]
                if isinstance(known, Metrics):
                    types[row] = known.types.get(names[row].decode(), 0)
        return which, types

    def _look_up(
        self,
        noted: Sequence[_Noted],
        found: Columns,
        rows: NDArray[np.intp],
        which: NDArray[np.intp],
        types: NDArray[np.int64],
    ) -> None:
        """Look up aliases, each with what its message's birth said: one number for both."""
        ids = np.fromiter(map(id, noted), np.int64, len(noted))
        births, birth = np.unique(ids, return_inverse=True)
        by_id = dict(zip(ids.tolist(), noted, strict=True))
        known = [self._index(by_id[each]) for each in births.tolist()]
        keys = np.concatenate([each[0] | at << 32 for at, each in enumerate(known)])
        which[rows] = ODD
        if not len(keys):
            return
        owner, alias = found.owner[rows], found.alias[rows]
        wanted = alias | birth[owner] << 32
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        is_known = (keys[at] == wanted) & (alias >= 0) & (alias < _LEAST_LARGE)
        at, rows = at[is_known], rows[is_known]
        which[rows] = np.concatenate([each[1] for each in known])[at]
        said = types[rows]
        types[rows] = np.where(said == 0, np.concatenate([each[2] for each in known])[at], said)

    def _index(self, known: _Noted) -> tuple[NDArray[Any], ...]:
        """Of a birth, its aliases in their order, the channel of each, and its data type."""
        if not isinstance(known, Metrics):
            return _NO_INDEX
        others = self._names.others
        if known.index is None or known.index[0] is not others:
            aliases = sorted(alias for alias in known.names if alias < _LEAST_LARGE)
            names = [known.names[alias] for alias in aliases]
            places = self._names.places
            known.index = (
                others,
                np.array(aliases, np.int64),
                np.array([places[name.encode()] for name in names], np.intp),
                np.array([known.types.get(name, 0) for name in names], np.int64),
            )
        return known.index[1:]


#: Where there are no aliases.
_NO_INDEX: Final = (np.empty(0, np.int64), np.empty(0, np.intp), np.empty(0, np.int64))


class _Readings(NamedTuple):
    """Readings of some messages.

    Attributes:
        time_ms: int64[n], their times.
        which: intp[n], their channels.
        value: float64[n], of texts their codes.
        is_text: bool[n], whether it is a text of no channel.
        owner: intp[n], their messages.
        texts: By code.
    """

    time_ms: NDArray[np.int64]
    which: NDArray[np.intp]
    value: NDArray[np.float64]
    is_text: NDArray[np.bool_]
    owner: NDArray[np.intp]
    texts: Mapping[float, str]


#: No reading.
_NOTHING: Final = _Readings(
    np.empty(0, np.int64),
    np.empty(0, np.intp),
    np.empty(0),
    np.empty(0, np.bool_),
    np.empty(0, np.intp),
    {},
)

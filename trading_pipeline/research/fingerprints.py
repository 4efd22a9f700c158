"""Fingerprints: whether what a strategy holds over a fixed market is what was accepted, and where it is not.

A *record* is what a strategy held over a range of sessions, as a small text that
people read and version control compares: a line wherever the holdings change.

::

    fingerprint 3b0c44...
    sessions 2026-03-02 to 2026-03-31, 22
    2026-03-02 TQQQ 1
    2026-03-05 UVXY 0.75, BTAL 0.25
    2026-03-06 unavailable: rsi(SPY,10) is missing

The fingerprint covers every session, so nothing can change without changing it.
Weights count to a billionth: what rounding does beyond that is no change.
"""

import bisect
import hashlib
import itertools
import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.strategies.evaluation import Evaluation

WEIGHT_DECIMALS = 9
SNAP_DECIMALS = 12
SHOWN = 10
"""How many runs of changed sessions a difference names, so that it fits on a screen."""

_HEAD = re.compile(r"fingerprint ([0-9a-f]{64})\r?\nsessions (\S+) to (\S+), (\d+)\r?\n")
_LINE = re.compile(r"(\d{4}-\d{2}-\d{2}) (\S.*)")


@dataclass(frozen=True)
class Record:
    """What a strategy held after each of ``count`` sessions from ``first`` to ``last``.

    ``changes`` names the sessions from which on something else was held, oldest
    first, and what: symbols and weights (fractions, to nine decimals), the
    largest first, or ``unavailable:`` and the reason.
    """

    fingerprint: str
    first: date
    last: date
    count: int
    changes: tuple[tuple[date, str], ...]

    @classmethod
    def of(cls, evaluation: Evaluation) -> "Record":
        """Return the record of ``evaluation``.

        Raises:
            InvalidInput: no session was evaluated.
        """
        if not evaluation.sessions:
            raise InvalidInput("no session was evaluated: a record needs at least one")
        held = holdings(evaluation)
        days = evaluation.sessions
        starts = [row for row in range(len(days)) if row == 0 or held[row] != held[row - 1]]
        changes = tuple((days[row], held[row]) for row in starts)
        return cls(_digest(days, held), days[0], days[-1], len(days), changes)

    @classmethod
    def from_text(cls, text: str) -> "Record":
        """Return the record that ``to_text`` wrote.

        Raises:
            InvalidInput: the text is no record; the message names the line.
        """
        head = _HEAD.match(text)
        if head is None:
            raise InvalidInput(
                f"a record begins with the lines 'fingerprint ...' and 'sessions ... to ..., ...', "
                f"was {text[:80]!r}: accept the strategy anew"
            )
        digest, first, last, count = head.groups()
        changes = tuple(_change(number, line) for number, line in enumerate(text[head.end() :].splitlines(), start=3))
        record = cls(digest, _date(2, first), _date(2, last), int(count), changes)
        _check_order(record)
        return record

    def to_text(self) -> str:
        """Return the record as lines: fingerprint, range of sessions, changes."""
        head = f"fingerprint {self.fingerprint}\nsessions {self.first} to {self.last}, {self.count}\n"
        return head + "".join(f"{session} {holding}\n" for session, holding in self.changes)

    def covers(self, session: date) -> bool:
        """Tell whether ``session`` lies in the range of the record."""
        return self.first <= session <= self.last

    def holding(self, session: date) -> str:
        """Return what was held after ``session``, which the record must cover."""
        return self.changes[bisect.bisect_right(self.changes, session, key=operator.itemgetter(0)) - 1][1]


def holdings(evaluation: Evaluation) -> tuple[str, ...]:
    """Return what was held after each session as text, such as ``UVXY 0.75, BTAL 0.25``.

    An unavailable session reads ``unavailable:`` and the reason.
    """
    # Snapped first: a weight such as 1/1024 lies half way between two billionths, where the last bit would decide.
    billionths = np.rint(np.round(evaluation.weights, SNAP_DECIMALS) * 10**WEIGHT_DECIMALS)
    return tuple(_holding(evaluation, row, billionths[row]) for row in range(len(evaluation.sessions)))


def fingerprint(evaluation: Evaluation) -> str:
    """Return the SHA-256, in hexadecimal, of what was held after each session.

    Sessions, symbols, weights to nine decimals and the reasons of unavailable
    sessions count; the order of the evaluation's columns does not.
    """
    return _digest(evaluation.sessions, holdings(evaluation))


def difference(record: Record, evaluation: Evaluation) -> tuple[str, ...]:
    """Return, as lines for people, how ``evaluation`` differs from ``record``: empty if it does not.

    The first line counts, the others name runs of sessions with what was held
    and what is held now; at most ``SHOWN`` of them.
    """
    now = Record.of(evaluation)
    if now == record:
        return ()
    runs = list(_changed_runs(record, evaluation))
    lines = [*_range_lines(record, now), *_run_lines(runs)]
    return tuple(lines) or ("every session is as recorded, but not the fingerprint: the record was edited by hand",)


@dataclass(frozen=True)
class _Run:
    """Neighbouring sessions with the same change."""

    sessions: tuple[date, ...]
    before: str
    after: str

    def __str__(self) -> str:
        first, last = self.sessions[0], self.sessions[-1]
        days = f"{first}" if first == last else f"{first} to {last} ({len(self.sessions)} sessions)"
        return f"{days}: {self.before} -> {self.after}"


def _changed_runs(record: Record, evaluation: Evaluation) -> Iterator[_Run]:
    covered = (
        (session, record.holding(session), after)
        for session, after in zip(evaluation.sessions, holdings(evaluation), strict=True)
        if record.covers(session)
    )
    for (before, after), run in itertools.groupby(covered, key=operator.itemgetter(1, 2)):
        if before != after:
            yield _Run(tuple(session for session, _, _ in run), before, after)


def _range_lines(record: Record, now: Record) -> Iterator[str]:
    before, after = ((each.first, each.last, each.count) for each in (record, now))
    if before != after:
        yield (
            f"the record covers {record.first} to {record.last} ({record.count} sessions), "
            f"the strategy was evaluated from {now.first} to {now.last} ({now.count} sessions)"
        )


def _run_lines(runs: Sequence[_Run]) -> Iterator[str]:
    if runs:
        yield f"changed: {_counted(sum(len(run.sessions) for run in runs), 'session')}, in {_counted(len(runs), 'run')}"
    yield from (str(run) for run in runs[:SHOWN])
    if len(runs) > SHOWN:
        yield f"... and {_counted(len(runs) - SHOWN, 'more run')}, the last on {runs[-1].sessions[-1]}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _holding(evaluation: Evaluation, row: int, billionths: FloatArray) -> str:
    reason = evaluation.reason(row)
    if reason is not None:
        # A group's name may hold line breaks, and a record has one line for one change.
        return f"unavailable: {' '.join(reason.split())}"
    held = ((-int(billionths[column]), evaluation.symbols[column]) for column in np.flatnonzero(billionths > 0))
    return ", ".join(f"{symbol} {_weight(-negative)}" for negative, symbol in sorted(held))


def _weight(billionths: int) -> str:
    return f"{Decimal(billionths).scaleb(-WEIGHT_DECIMALS).normalize():f}"


def _digest(sessions: Sequence[date], held: Sequence[str]) -> str:
    lines = "".join(f"{session} {holding}\n" for session, holding in zip(sessions, held, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _change(number: int, line: str) -> tuple[date, str]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise InvalidInput(
            f"line {number} of the record was {line!r}: wanted a session and what was held, such as '2026-03-02 TQQQ 1'"
        )
    return _date(number, found[1]), found[2]


def _date(number: int, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"line {number} of the record has the date {text!r} ({error}): accept the strategy anew"
        ) from error


def _check_order(record: Record) -> None:
    days = [session for session, _ in record.changes]
    ascending = all(before < after for before, after in itertools.pairwise(days))
    if not days or days[0] != record.first or days[-1] > record.last or not ascending:
        raise InvalidInput(
            f"the record covers {record.first} to {record.last}, but its changes do not begin there, "
            "or are not in order: accept the strategy anew"
        )

"""Signals of many strategies over history: dealt to shards, in each of which every reading is computed once."""

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date

import numpy as np
import pandas as pd

from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import HISTORY_COLUMNS, SignalStatus, history_frame
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.evaluation import Evaluation, evaluate
from trading_pipeline.domain.strategies.missing import DECIDED
from trading_pipeline.domain.strategies.sharing import SharedTree

COLUMNS = ("session", "strategy", *HISTORY_COLUMNS[1:])


def shards(sizes: Mapping[str, int], count: int) -> tuple[tuple[str, ...], ...]:
    """Deal names to at most ``count`` shards, so that their sizes sum to about the same.

    The largest goes first, each to the shard that has least so far (Graham,
    Bounds on Multiprocessing Timing Anomalies, 1969: no shard has more than
    4/3 of what the best deal would give its largest one). Every name is in one
    shard, no shard is empty, and the same sizes are always dealt the same way.

    >>> shards({"large": 5, "medium": 3, "small": 1, "smaller": 1}, 2)
    (('large',), ('medium', 'small', 'smaller'))

    Raises:
        InvalidInput: ``count`` is below 1.
    """
    if count < 1:
        raise InvalidInput(f"strategies cannot be dealt to {count} shards; ask for 1 or more")
    dealt: list[list[str]] = [[] for _ in range(min(count, len(sizes)))]
    least = [(0, 0, shard) for shard in range(len(dealt))]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        size, names, shard = heapq.heappop(least)
        dealt[shard].append(name)
        heapq.heappush(least, (size + sizes[name], names + 1, shard))
    return tuple(tuple(sorted(names)) for names in dealt)


def size_of(strategy: Strategy) -> int:
    """Return how many different expressions a strategy's tree has: what its evaluation costs, about."""
    return len(SharedTree(strategy.tree).expressions)


def history_of(
    strategies: Sequence[Strategy], bars: pd.DataFrame, first: date, last: date, smoothing: Smoothing
) -> pd.DataFrame:
    """Return what each strategy held after each session from ``first`` to ``last``, as ``signal_history`` does for one.

    ``bars`` is a Bars frame. All of its history up to ``last`` counts, nothing
    after it. A strategy has rows only on sessions that the bars of its symbols
    cover: none before they begin, none at all where there are no bars.
    An exception that a strategy raises bears its name in a note.

    Returns:
        A frame with the columns session, strategy, symbol, weight (fraction of
        the strategy), status and reason, by strategy, session and symbol.
    """
    known = bars[bars["session"] <= last]
    covered = _covered(strategies, known)
    if not covered:
        return _empty()
    days = sessions.sessions_between(min(start for start, _ in covered.values()), last)
    panel = _panel(strategies, known, days, smoothing)
    frames = []
    for strategy in (each for each in strategies if each.name in covered):
        start, end = covered[strategy.name]
        # From where its own bars begin: what others read before that must not show, not even in a reason.
        own = panel.last(len(days) - bisect_left(days, start))
        frames.append(_history(strategy, own, first, end, smoothing))
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)]


def coverage(history: pd.DataFrame, strategies: Sequence[str], first: date, last: date) -> pd.DataFrame:
    """Return, a row per strategy, how much of what was asked its history answers.

    Columns: strategy; ``asked``, ``answered``, ``undecided`` (answered, but
    unavailable) and ``without_bars`` (not answered), counts of sessions from
    ``first`` to ``last``; ``since`` and ``through``, the first and last session
    answered, None where there is none.
    """
    asked = len(sessions.sessions_between(first, last))
    rows = [_coverage(name, history[history["strategy"] == name], asked) for name in strategies]
    columns = ["strategy", "asked", "answered", "undecided", "without_bars", "since", "through"]
    return pd.DataFrame(rows, columns=columns)


def evaluations_of(history: pd.DataFrame) -> Mapping[str, Evaluation]:
    """Return the evaluation of each strategy in rows of ``history_of``, by name.

    An evaluation has a column per symbol that the strategy ever held there.
    One that never was available has a column per symbol that any did, or none
    if none ever was.
    """
    held = sorted(set(history["symbol"].dropna()))
    return {str(name): _evaluation(rows, held) for name, rows in history.groupby("strategy", sort=True)}


def _covered(strategies: Sequence[Strategy], bars: pd.DataFrame) -> Mapping[str, tuple[date, date]]:
    """Return the first and last session with any bar of a strategy, by name; a strategy without bars is left out."""
    starts, ends = (getattr(bars.groupby("symbol", observed=True)["session"], edge)() for edge in ("min", "max"))
    found = {}
    for strategy in strategies:
        symbols = starts.index.intersection(list(tree.symbols(strategy.tree)))
        if len(symbols):
            found[strategy.name] = (min(starts[symbols]), max(ends[symbols]))
    return found


def _panel(
    strategies: Sequence[Strategy], bars: pd.DataFrame, days: Sequence[date], smoothing: Smoothing
) -> IndicatorPanel:
    readings = {reading for strategy in strategies for reading in tree.readings(strategy.tree)}
    closes = close_panel(bars, sorted({reading.symbol for reading in readings}), days)
    return IndicatorPanel.from_closes(closes, readings, smoothing)


def _history(strategy: Strategy, panel: IndicatorPanel, first: date, last: date, smoothing: Smoothing) -> pd.DataFrame:
    with _named(strategy):
        rows = history_frame(evaluate(strategy.tree, panel, smoothing), first, last)
    return rows.assign(strategy=pd.Series([strategy.name] * len(rows), dtype="str"))


@contextmanager
def _named(strategy: Strategy) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Whatever it is, among hundreds of strategies a person must know whose it is.
        error.add_note(f"while evaluating strategy {strategy.name}")
        raise


def _empty() -> pd.DataFrame:
    types = {"strategy": "str", "symbol": "str", "weight": "float64", "status": "str", "reason": "str"}
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, object)) for name in COLUMNS})


def _coverage(name: str, rows: pd.DataFrame, asked: int) -> tuple[object, ...]:
    days = rows["session"].drop_duplicates()
    undecided = int((rows["status"] == str(SignalStatus.UNAVAILABLE)).sum())
    since, through = (days.min(), days.max()) if len(days) else (None, None)
    return (name, asked, len(days), undecided, asked - len(days), since, through)


def _evaluation(rows: pd.DataFrame, held: Sequence[str]) -> Evaluation:
    row, days = pd.factorize(rows["session"], sort=True)
    symbols = tuple(sorted(set(rows["symbol"].dropna())) or held)
    available = (rows["status"] == str(SignalStatus.AVAILABLE)).to_numpy()
    column = pd.Index(symbols).get_indexer(pd.Index(rows["symbol"]))
    weights = np.zeros((len(days), len(symbols)))
    weights[row[available], column[available]] = rows["weight"].to_numpy()[available]
    weights[row[~available]] = np.nan
    reason, reasons = pd.factorize(rows["reason"])
    codes = np.full(len(days), DECIDED, dtype=np.int64)
    codes[row[~available]] = reason[~available] + 1
    return Evaluation(tuple(days), symbols, weights, codes, ("", *map(str, reasons)))

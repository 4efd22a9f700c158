"""Signals over history: one strategy, and the variants it ranks, evaluated on all sessions of a range at once."""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import history_frame
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.comparing import BoolArray, kept
from trading_pipeline.domain.strategies.evaluation import Evaluation, evaluate
from trading_pipeline.domain.strategies.evaluator import Evaluator
from trading_pipeline.domain.strategies.tree import Equal, Filter, Group, Measure, Node, if_

if TYPE_CHECKING:
    import pandas as pd


def signal_history(
    strategy: Strategy,
    bars: "pd.DataFrame",
    first: date | None = None,
    last: date | None = None,
    smoothing: Smoothing = Smoothing.WILDER,
) -> "pd.DataFrame":
    """Return what ``strategy`` held after each session from ``first`` to ``last``.

    ``bars`` is a Bars frame. All of its history up to ``last`` counts, nothing
    after it. Only sessions that the bars of the strategy's symbols cover are
    answered; the bounds default to the first and the last of them.

    Returns:
        A frame with the columns session, symbol, weight, status and reason, by
        session, then symbol: see ``history_frame``.

    Raises:
        InvalidInput: no session lies between the bounds, or the bars do not cover any that does.
    """
    asked = _asked(strategy, bars, first, last, smoothing)
    return asked.frame(strategy.tree)


def variant_history(
    strategy: Strategy,
    bars: "pd.DataFrame",
    first: date | None = None,
    last: date | None = None,
    smoothing: Smoothing = Smoothing.WILDER,
) -> "pd.DataFrame":
    """Return what each variant that ``strategy`` ranks held after each session, and what it was ranked by.

    The variants of an ensemble, a filter over groups, are its candidates. The
    arguments are those of ``signal_history``.

    Returns:
        A frame with a row for each session, variant and symbol, variants in the
        order listed. Columns: session, variant (the group's name), symbol,
        weight (fraction of the variant), the ranking value, named by its
        indicator and window, such as ``sdret5``, status, reason and ``chosen``,
        whether the strategy held the variant. ``reason`` says why a variant was
        left out of the ranking, and is None where it was not. One that cannot be
        decided is unavailable, a single row with neither symbol nor weight; one
        that can, but has no ranking value, has NaN for that.

    Raises:
        InvalidInput: the strategy does not rank groups, no session lies between the bounds, or the bars do not cover
            any that does.
    """
    import pandas as pd

    ranking = _ranking_of(strategy)
    asked = _asked(strategy, bars, first, last, smoothing)
    evaluator = Evaluator(ranking, asked.panel, smoothing)
    chosen = kept(evaluator.ranking(ranking, np.arange(evaluator.length)), ranking.end, ranking.count)
    frames = [
        _variant_frame(asked, measure, evaluator.values(measure), held)
        for measure, held in zip(ranking.measures(), chosen, strict=True)
    ]
    return pd.concat(frames).sort_values("session", kind="stable", ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Asked:
    """The readings that a strategy needs, over all history that counts, and the sessions to answer."""

    panel: IndicatorPanel
    smoothing: Smoothing
    first: date
    last: date

    def evaluation(self, node: Node) -> Evaluation:
        return evaluate(node, self.panel, self.smoothing)

    def frame(self, node: Node) -> "pd.DataFrame":
        return history_frame(self.evaluation(node), self.first, self.last)


def _asked(
    strategy: Strategy, bars: "pd.DataFrame", first: date | None, last: date | None, smoothing: Smoothing
) -> _Asked:
    symbols = tree.symbols(strategy.tree)
    known = bars[bars["symbol"].isin(symbols)]
    if known.empty:
        raise InvalidInput(f"the bars hold none of the symbols that {strategy.name} reads: {', '.join(symbols)}")
    start, end = known["session"].min(), known["session"].max()
    asked = sessions.sessions_between(first or start, last or end)
    if not asked:
        raise InvalidInput(f"no session lies between {first or start} and {last or end}: ask for a longer range")
    covered = sessions.sessions_between(start, min(end, asked[-1]))
    if not covered or covered[-1] < asked[0]:
        raise InvalidInput(
            f"the bars cover {start} to {end}, not {asked[0]} to {asked[-1]}: ask for sessions that they cover"
        )
    closes = close_panel(known[known["session"] <= covered[-1]], symbols, covered)
    panel = IndicatorPanel.from_closes(closes, tree.readings(strategy.tree), smoothing)
    return _Asked(panel, smoothing, asked[0], asked[-1])


def _ranking_of(strategy: Strategy) -> Filter:
    ranking = _unwrapped(strategy.tree)
    if isinstance(ranking, Filter) and all(isinstance(candidate, Group) for candidate in ranking.candidates):
        return ranking
    raise InvalidInput(
        f"{strategy.name} has no variants: it is not a filter over groups. Ask for the variants of one that is"
    )


def _unwrapped(node: Node) -> Node:
    """Look through what only names one thing, or holds it whole."""
    match node:
        case Group(_, child) | Equal((child,)):
            return _unwrapped(child)
        case _:
            return node


def _variant_frame(asked: _Asked, measure: Measure, readings: FloatArray, chosen: BoolArray) -> "pd.DataFrame":
    import pandas as pd

    frame = asked.frame(measure.subject)
    rows = pd.Index(asked.panel.sessions).get_indexer(pd.Index(frame["session"]))
    # Whichever side it takes, this is decided where the measure can be read and its subject can be held.
    rankable = asked.evaluation(if_(measure >= 0, measure.subject, measure.subject))
    left_out = np.array([rankable.reason(row) for row in rows.tolist()], dtype=object)
    frame.insert(1, "variant", pd.Series([str(measure.subject)] * len(frame), dtype="str"))
    frame.insert(4, f"{measure.indicator}{measure.window}", readings[rows])
    return frame.assign(reason=frame["reason"].fillna(pd.Series(left_out, dtype="str")), chosen=chosen[rows])

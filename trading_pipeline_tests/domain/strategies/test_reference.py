"""The evaluator against an interpreter of one session at a time, written from the definitions alone."""

import itertools
import math
import pickle
import statistics
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from unittest import mock

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel, Reading
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.sharing import SharedTree
from trading_pipeline.domain.strategies.tree import (
    And,
    Asset,
    Comparison,
    End,
    Equal,
    Filter,
    Group,
    If,
    InverseVolatility,
    Measure,
    Not,
    Operator,
    Or,
    Specified,
    readings,
)

pytestmark = pytest.mark.unmeasured

SYMBOLS = ("A", "B", "C", "D")
FIRST = date(2024, 1, 1)


def missing(number):
    return number is None or math.isnan(number)


def equal_readings(left, right):
    return abs(left - right) <= 1e-10 + 1e-10 * abs(right)


def returns_of(levels):
    return [later / earlier - 1 for earlier, later in pairwise(levels)]


def wilder(levels, window):
    changes = [later - earlier for earlier, later in pairwise(levels)]
    if len(changes) < window:
        return None
    gain = sum(max(change, 0) for change in changes[:window]) / window
    loss = sum(max(-change, 0) for change in changes[:window]) / window
    for change in changes[window:]:
        gain += (max(change, 0) - gain) / window
        loss += (max(-change, 0) - loss) / window
    return index_of(gain, loss)


def cutler(levels, window):
    changes = [later - earlier for earlier, later in pairwise(levels)][-window:]
    if len(changes) < window:
        return None
    return index_of(sum(max(change, 0) for change in changes), sum(max(-change, 0) for change in changes))


def index_of(gain, loss):
    if loss == 0:
        return 100.0 if gain > 0 else 50.0
    return 100 - 100 / (1 + gain / loss)


def exponential(levels, window):
    if len(levels) < window:
        return None
    mean = sum(levels[:window]) / window
    for level in levels[window:]:
        mean += (level - mean) * 2 / (window + 1)
    return mean


def deepest_fall(levels):
    return max(1 - later / peak for place, peak in enumerate(levels) for later in levels[place:]) * 100


def window_mean(values, window):
    return statistics.fmean(values[-window:]) if len(values) >= window else None


def window_deviation(values, window):
    return statistics.stdev(values[-window:]) if len(values) >= window > 1 else None


def percent(fraction):
    return None if fraction is None else fraction * 100


# Each reads an unbroken stretch of levels that ends today; None where the window is not full.
READ = {
    Indicator.PRICE: lambda levels, _: levels[-1],
    Indicator.SMA: window_mean,
    Indicator.EMA: exponential,
    Indicator.PRICE_DEVIATION: window_deviation,
    Indicator.MAX_DRAWDOWN: lambda levels, n: deepest_fall(levels[-n:]) if len(levels) >= n else None,
    Indicator.CUMULATIVE_RETURN: lambda levels, n: (levels[-1] / levels[-1 - n] - 1) * 100 if len(levels) > n else None,
    Indicator.MEAN_RETURN: lambda levels, n: percent(window_mean(returns_of(levels), n)),
    Indicator.RETURN_DEVIATION: lambda levels, n: percent(window_deviation(returns_of(levels), n)),
}


def reading_of(indicator, levels, window, smoothing):
    if indicator is Indicator.RSI:
        return (wilder if smoothing is Smoothing.WILDER else cutler)(levels, window)
    return READ[indicator](levels, window)


class DecidedByRoundingError(Exception):
    """Two groups rank so near each other that the last bits of their readings decide."""


class Reference:
    """Decides one node on one session; None is undecidable.

    The readings of ``panel`` settle rankings of symbols that differ by rounding alone, and nothing else.
    """

    def __init__(self, closes, smoothing, panel):
        self.closes = closes
        self.smoothing = smoothing
        self.panel = panel
        self.length = len(closes["A"])
        self.decide = cache(self._decide)
        self.stretches = cache(self._stretches)

    def _decide(self, node, t):  # noqa: PLR0911 - one line for each node of the language
        match node:
            case Asset(symbol):
                return {symbol: 1.0}
            case Group(_, child):
                return self.decide(child, t)
            case If(condition, then, otherwise):
                truth = self.truth(condition, t)
                return None if truth is None else self.decide(then if truth else otherwise, t)
            case Equal(children):
                return self.blend([(1 / len(children), child) for child in children], t)
            case Specified(weights, children):
                return self.blend(list(zip(weights, children, strict=True)), t)
            case InverseVolatility(window, children):
                return self.calm(window, children, t)
            case Filter(end, count, indicator, window, candidates):
                return self.best(end, count, indicator, window, candidates, t)

    def blend(self, shares, t):
        total = {}
        for weight, child in shares:
            if not weight:
                continue
            held = self.decide(child, t)
            if held is None:
                return None
            for symbol, part in held.items():
                total[symbol] = total.get(symbol, 0.0) + weight * part
        return total

    def calm(self, window, children, t):
        deviations = [self.read(Measure(Indicator.RETURN_DEVIATION, child, window), t) for child in children]
        if any(missing(deviation) or deviation <= 1e-10 for deviation in deviations):
            return None
        total = sum(1 / deviation for deviation in deviations)
        return self.blend([(1 / d / total, child) for d, child in zip(deviations, children, strict=True)], t)

    def best(self, end, count, indicator, window, candidates, t):
        sign = -1 if end is End.TOP else 1
        ranked = []
        for place, candidate in enumerate(candidates):
            value = self.read(Measure(indicator, candidate, window), t)
            if not missing(value) and self.decide(candidate, t) is not None:
                ranked.append((sign * self.settled(value, candidate, indicator, window, t), place, candidate))
        ranked.sort(key=lambda entry: entry[:2])
        chosen, dropped = ranked[:count], ranked[count:]
        for (better, _, kept), (worse, _, other) in itertools.product(chosen[-1:], dropped[:1]):
            near = equal_readings(better, worse) or abs(better - worse) <= 1e-8 * max(abs(worse), 1)
            if near and kept != other and not (isinstance(kept, Asset) and isinstance(other, Asset)):
                raise DecidedByRoundingError
        return self.blend([(1 / len(chosen), candidate) for *_, candidate in chosen], t) if chosen else None

    def settled(self, value, candidate, indicator, window, t):
        if isinstance(candidate, Group):
            return value
        settled = self.panel.values(Reading(candidate.symbol, indicator, window))[t]
        assert settled == pytest.approx(value, rel=1e-8, abs=1e-8)
        return settled

    def truth(self, condition, t):
        match condition:
            case Comparison(left, operator, right):
                return self.compare(self.read(left, t), operator, self.read(right, t))
            case Not(inner):
                truth = self.truth(inner, t)
                return None if truth is None else not truth
            case And(conditions):
                truths = [self.truth(part, t) for part in conditions]
                return False if False in truths else None if None in truths else True
            case Or(conditions):
                truths = [self.truth(part, t) for part in conditions]
                return True if True in truths else None if None in truths else False

    def compare(self, left, operator, right):
        if missing(left) or missing(right):
            return None
        if equal_readings(left, right):
            return operator in {Operator.AT_LEAST, Operator.AT_MOST}
        return (left > right) == (operator in {Operator.ABOVE, Operator.AT_LEAST})

    def read(self, side, t):
        if not isinstance(side, Measure):
            return side
        for first, levels in self.stretches(side.subject):
            if first <= t < first + len(levels):
                return reading_of(side.indicator, levels[: t - first + 1], side.window, self.smoothing)
        return None

    def _stretches(self, subject):
        """Unbroken stretches of a value series: (first session, levels)."""
        return self.runs(subject.symbol) if isinstance(subject, Asset) else self.simulate(subject)

    def runs(self, symbol):
        runs, going = [], False
        for t, close in enumerate(self.closes[symbol]):
            if math.isnan(close):
                going = False
            elif going:
                runs[-1][1].append(close)
            else:
                runs.append((t, [close]))
                going = True
        return runs

    def simulate(self, group):
        stretches, level, holding = [], 1.0, None
        for t in range(self.length):
            earned = None if holding is None else self.earned(holding, t)
            chosen = self.decide(group, t)
            if earned is not None:
                level *= 1 + earned
                stretches[-1][1].append(level)
            elif chosen is not None:
                stretches.append((t, [level]))
            holding = chosen
        return stretches

    def earned(self, holding, t):
        total = 0.0
        for symbol, weight in holding.items():
            before, now = self.closes[symbol][t - 1], self.closes[symbol][t]
            if weight > 0 and (math.isnan(before) or math.isnan(now)):
                return None
            if weight > 0:
                total += weight * (now / before - 1)
        return total


def windows(indicator):
    if indicator is Indicator.PRICE:
        return st.just(1)
    return st.integers(2 if indicator is Indicator.RSI else 1, 4)


LEAVES = st.builds(Asset, st.sampled_from(SYMBOLS))
INDICATORS = st.sampled_from(Indicator)


@st.composite
def measures(draw, subjects):
    indicator = draw(INDICATORS)
    return Measure(indicator, draw(subjects), draw(windows(indicator)))


@st.composite
def conditions(draw, subjects, depth=2):
    kind = draw(st.integers(0, 5)) if depth else 0
    if kind == 5:
        return Not(draw(conditions(subjects, depth - 1)))
    if kind >= 3:
        parts = draw(st.lists(conditions(subjects, depth - 1), min_size=1, max_size=3))
        return (And if kind == 3 else Or)(tuple(parts))
    left, operator = draw(measures(subjects)), draw(st.sampled_from(Operator))
    number = st.sampled_from([-10.0, 0.0, 1.0, 5.0, 10.0, 50.0, 70.0])
    right = draw(number | st.builds(lambda s: Measure(left.indicator, s, left.window), subjects) | measures(subjects))
    return Comparison(left, operator, right)


def groups(nodes):
    return st.builds(Group, st.sampled_from(["G", "H"]), nodes)


@st.composite
def filters(draw, subjects):
    indicator = draw(INDICATORS)
    candidates = tuple(draw(st.lists(subjects, min_size=1, max_size=4)))
    return Filter(draw(st.sampled_from(End)), draw(st.integers(1, 3)), indicator, draw(windows(indicator)), candidates)


@st.composite
def blends(draw, nodes):
    children = tuple(draw(st.lists(nodes, min_size=1, max_size=3)))
    parts = draw(st.lists(st.integers(0, 5), min_size=len(children), max_size=len(children)).filter(any))
    return Specified(tuple(part / sum(parts) for part in parts), children)


def larger(nodes):
    subjects = LEAVES | groups(nodes)
    return (
        st.builds(If, conditions(subjects), nodes, nodes)
        | st.builds(Equal, st.lists(nodes, min_size=1, max_size=3).map(tuple))
        | blends(nodes)
        | st.builds(InverseVolatility, st.integers(2, 4), st.lists(subjects, min_size=1, max_size=3).map(tuple))
        | filters(subjects)
        | groups(nodes)
    )


CHOICES = groups(st.builds(If, conditions(LEAVES, 1), LEAVES, LEAVES))
READS_OF_GROUPS = (
    filters(CHOICES | LEAVES)
    | st.builds(InverseVolatility, st.just(2), st.lists(CHOICES, min_size=1, max_size=2).map(tuple))
    | st.builds(If, conditions(CHOICES, 0), LEAVES, LEAVES)
)
TREES = larger(st.recursive(LEAVES, larger, max_leaves=8)) | READS_OF_GROUPS


@st.composite
def markets(draw):
    length = draw(st.integers(1, 30))
    rich = st.floats(8, 12).map(lambda number: round(number, 3))
    flat = st.sampled_from([9.0, 10.0, 11.0])
    holes = st.just(math.nan)
    kinds = st.sampled_from([rich, flat, flat | flat | flat | holes, rich | rich | rich | rich | holes, st.just(10.0)])
    table = {symbol: draw(st.lists(draw(kinds), min_size=length, max_size=length)) for symbol in SYMBOLS}
    for symbol in SYMBOLS:
        late = draw(st.sampled_from([0, 0, 0, 5, length]))
        table[symbol][:late] = [math.nan] * min(late, length)
    return table


def panel_of(market, tree, smoothing, length=None):
    values = np.array([market[symbol] for symbol in SYMBOLS]).T[:length]
    sessions = tuple(FIRST + timedelta(days=n) for n in range(len(values)))
    return IndicatorPanel.from_closes(ClosePanel(sessions, SYMBOLS, values), readings(tree), smoothing)


@settings(deadline=None, max_examples=200)
@given(tree=TREES, market=markets(), smoothing=st.sampled_from(Smoothing))
def test_every_session_equals_an_interpreter_of_one_session_at_a_time(tree, market, smoothing):
    panel = panel_of(market, tree, smoothing)
    evaluation = evaluate(tree, panel, smoothing)

    reference = Reference(market, smoothing, panel)
    for t, row in enumerate(evaluation.weights):
        try:
            expected = reference.decide(tree, t)
        except DecidedByRoundingError:
            hypothesis.event("ended by a ranking that rounding decides")
            break
        assert evaluation.available[t] == (expected is not None), evaluation.reason(t)
        if expected is None:
            assert np.isnan(row).all()
            assert evaluation.reason(t)
        else:
            assert evaluation.reason(t) is None
            wanted = [expected.get(symbol, 0.0) for symbol in evaluation.symbols]
            np.testing.assert_allclose(row, wanted, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(tree=TREES, market=markets())
def test_weights_are_fractions_that_sum_to_one_or_the_session_is_unavailable(tree, market):
    evaluation = evaluate(tree, panel_of(market, tree, Smoothing.WILDER))

    held = evaluation.weights[evaluation.available]
    assert (held >= 0).all()
    np.testing.assert_allclose(held.sum(axis=1), 1, rtol=0, atol=1e-9)
    assert np.isnan(evaluation.weights[~evaluation.available]).all()


@settings(deadline=None, max_examples=50)
@given(tree=TREES, market=markets(), data=st.data())
def test_cutting_off_the_future_changes_nothing(tree, market, data):
    whole = evaluate(tree, panel_of(market, tree, Smoothing.WILDER))
    length = data.draw(st.integers(1, len(whole.sessions)))

    cut = evaluate(tree, panel_of(market, tree, Smoothing.WILDER, length))

    np.testing.assert_array_equal(cut.weights, whole.weights[:length])
    assert [cut.reason(row) for row in range(length)] == [whole.reason(row) for row in range(length)]


@settings(deadline=None, max_examples=50)
@given(tree=TREES, market=markets(), order=st.permutations(SYMBOLS))
def test_the_order_of_the_markets_columns_changes_nothing(tree, market, order):
    panel = panel_of(market, tree, Smoothing.WILDER)
    values = np.array([market[symbol] for symbol in order]).T
    closes = ClosePanel(panel.sessions, tuple(order), values)
    permuted = IndicatorPanel.from_closes(closes, readings(tree))
    turned = IndicatorPanel(panel.sessions, panel.readings[::-1], np.asfortranarray(panel.table[:, ::-1]))

    expected = evaluate(tree, panel)
    for other in (evaluate(tree, permuted), evaluate(tree, turned)):
        np.testing.assert_array_equal(other.weights, expected.weights)
        assert other.symbols == expected.symbols


@settings(deadline=None, max_examples=100)
@given(tree=TREES, repeats=st.integers(1, 3), market=markets(), smoothing=st.sampled_from(Smoothing))
def test_structural_sharing_changes_nothing(tree, repeats, market, smoothing):
    for _ in range(repeats):
        tree = Equal((tree, Group("again", tree)))
    panel = panel_of(market, tree, smoothing)

    shared = evaluate(tree, panel, smoothing)
    with mock.patch.object(SharedTree, "_key", lambda _, expression: (id(expression),)):
        apart = evaluate(pickle.loads(pickle.dumps(tree)), panel, smoothing)  # noqa: S301 - our own tree

    np.testing.assert_allclose(shared.weights, apart.weights, rtol=0, atol=1e-12)
    assert [shared.reason(row) for row in range(len(market["A"]))] == [
        apart.reason(row) for row in range(len(market["A"]))
    ]

"""A strategy as it is usually typed first: one session, one node at a time, readings from a dictionary.

It remembers nothing between sessions: where a group's own series is read, the
sessions that the indicator needs are simulated there and then. The peer of
``strategies.py``; answers None where a session is undecidable.
"""

import math
import statistics
from itertools import pairwise

from trading_pipeline.domain.indicators import Indicator, look_back
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
)

EQUAL_WITHIN = 1e-10
NEAR = 1e-9


class NaiveEvaluator:
    def __init__(self, panel):
        self.readings = {
            (reading.symbol, reading.indicator, reading.window): panel.values(reading).tolist()
            for reading in panel.readings
        }
        self.closes = {
            symbol: values for (symbol, indicator, _), values in self.readings.items() if indicator is Indicator.PRICE
        }
        self.decided_by_rounding = False

    def decide(self, node, t):  # noqa: PLR0911 - one line for each node of the language
        match node:
            case Asset(symbol):
                return {symbol: 1.0}
            case Group(_, child):
                return self.decide(child, t)
            case If(condition, then, otherwise):
                truth = self.truth(condition, t)
                return None if truth is None else self.decide(then if truth else otherwise, t)
            case Equal(children):
                return self.blend([1 / len(children)] * len(children), children, t)
            case Specified(weights, children):
                return self.blend(weights, children, t)
            case InverseVolatility():
                return self.calm(node, t)
            case Filter():
                return self.best(node, t)

    def blend(self, weights, children, t):
        total = {}
        for weight, child in zip(weights, children, strict=True):
            held = self.decide(child, t)
            if held is None:
                return None
            for symbol, part in held.items():
                total[symbol] = total.get(symbol, 0.0) + weight * part
        return total

    def calm(self, node, t):
        deviations = [self.read(measure, t) for measure in node.measures()]
        if any(math.isnan(deviation) or deviation <= EQUAL_WITHIN for deviation in deviations):
            return None
        total = sum(1 / deviation for deviation in deviations)
        return self.blend([1 / deviation / total for deviation in deviations], node.children, t)

    def best(self, node, t):
        sign = 1 if node.end is End.TOP else -1
        ranked = []
        for measure in node.measures():
            value = self.read(measure, t)
            if not math.isnan(value) and self.decide(measure.subject, t) is not None:
                ranked.append((sign * value, measure.subject))
        if not ranked:
            return None
        # Stable: equal readings stay in the order listed.
        ranked.sort(key=lambda entry: -entry[0])
        if len(ranked) > node.count:
            last, next_one = ranked[node.count - 1][0], ranked[node.count][0]
            self.decided_by_rounding |= abs(last - next_one) <= NEAR * max(abs(last), 1)
        chosen = [subject for _, subject in ranked[: node.count]]
        return self.blend([1 / len(chosen)] * len(chosen), chosen, t)

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
        if math.isnan(left) or math.isnan(right):
            return None
        if abs(left - right) <= EQUAL_WITHIN * max(abs(right), 1):
            return operator in {Operator.AT_LEAST, Operator.AT_MOST}
        return (left > right) == (operator in {Operator.ABOVE, Operator.AT_LEAST})

    def read(self, side, t):
        if not isinstance(side, Measure):
            return side
        if isinstance(side.subject, Asset):
            return self.readings[side.subject.symbol, side.indicator, side.window][t]
        needed = look_back(side.indicator, side.window)
        levels = self.simulate(side.subject, t, needed)
        enough = side.window + 1 if side.indicator is Indicator.RSI else needed
        return READ[side.indicator](levels, side.window) if len(levels) >= enough else math.nan

    def simulate(self, group, t, needed):
        levels = []
        for session in range(max(t - needed + 1, 0), t + 1):
            earned = self.earned(group, session) if session else math.nan
            if not math.isnan(earned) and levels:
                levels.append(levels[-1] * (1 + earned))
            else:
                levels = [] if self.decide(group, session) is None else [1.0]
        return levels

    def earned(self, group, session):
        held = self.decide(group, session - 1)
        if held is None:
            return math.nan
        return sum(
            weight * (self.closes[symbol][session] / self.closes[symbol][session - 1] - 1)
            for symbol, weight in held.items()
            if weight
        )


def returns(levels):
    return [later / earlier - 1 for earlier, later in pairwise(levels)]


def wilder(levels, window):
    changes = [later - earlier for earlier, later in pairwise(levels)]
    gain = sum(max(change, 0) for change in changes[:window]) / window
    loss = sum(max(-change, 0) for change in changes[:window]) / window
    for change in changes[window:]:
        gain += (max(change, 0) - gain) / window
        loss += (max(-change, 0) - loss) / window
    if loss == 0:
        return 100.0 if gain > 0 else 50.0
    return 100 - 100 / (1 + gain / loss)


# What the symphonies of this benchmark read of groups.
READ = {
    Indicator.RSI: wilder,
    Indicator.RETURN_DEVIATION: lambda levels, window: statistics.stdev(returns(levels)[-window:]) * 100,
    Indicator.CUMULATIVE_RETURN: lambda levels, window: (levels[-1] / levels[-1 - window] - 1) * 100,
    Indicator.MEAN_RETURN: lambda levels, window: statistics.fmean(returns(levels)[-window:]) * 100,
}

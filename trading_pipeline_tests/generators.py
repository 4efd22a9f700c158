"""Random trees for hypothesis: every node, condition and indicator, groups as candidates and as subjects among them."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from trading_pipeline.domain.indicators import Indicator
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

SYMBOLS = ("A", "B", "C", "D")
WIDEST = 4


def names():
    """Names of groups and symphonies: any text that is not blank."""
    return st.text(min_size=1, max_size=12).filter(str.strip)


def thresholds():
    return st.integers(-100, 200).map(float) | st.floats(-1e6, 1e6)


@st.composite
def trees(draw, symbols=SYMBOLS, max_leaves=12, longest_window=6, group_names=None):
    """Trees over ``symbols`` with at most ``max_leaves`` assets that they may hold, those of groups read among them."""
    return _Grower(draw, tuple(symbols), longest_window, names() if group_names is None else group_names).node(
        max_leaves
    )


@st.composite
def conditions(draw, symbols=SYMBOLS, max_leaves=4, longest_window=6, group_names=None):
    """Conditions on assets and groups."""
    called = names() if group_names is None else group_names
    return _Grower(draw, tuple(symbols), longest_window, called).condition(max_leaves)


@dataclass(frozen=True)
class _Grower:
    """Draws one tree; ``leaves`` is how many assets a part of it may name."""

    draw: Any
    symbols: tuple[str, ...]
    longest_window: int
    group_names: Any

    def node(self, leaves):
        kinds = [self.asset]
        if leaves > 1:
            kinds += [self.if_, self.equal, self.specified, self.filter, self.inverse_volatility, self.group]
        return self.one_of(kinds)(leaves)

    def asset(self, _leaves):
        return Asset(self.one_of(self.symbols))

    def group(self, leaves):
        return Group(self.draw(self.group_names), self.node(leaves - 1))

    def if_(self, leaves):
        return If(self.condition(leaves // 2), self.node(leaves // 2), self.node(leaves // 2))

    def equal(self, leaves):
        return Equal(self.several(self.node, leaves))

    def specified(self, leaves):
        children = self.several(self.node, leaves)
        parts = self.draw(st.lists(st.integers(0, 20), min_size=len(children), max_size=len(children)).filter(any))
        return Specified(tuple(part / sum(parts) for part in parts), children)

    def filter(self, leaves):
        indicator, end, count = (
            self.one_of(list(Indicator)),
            self.one_of(list(End)),
            self.draw(st.integers(1, WIDEST + 1)),
        )
        return Filter(end, count, indicator, self.window(indicator), self.several(self.subject, leaves))

    def inverse_volatility(self, leaves):
        return InverseVolatility(self.window(Indicator.RETURN_DEVIATION), self.several(self.subject, leaves))

    def condition(self, leaves):
        kinds = [self.comparison]
        if leaves > 1:
            kinds += [
                lambda leaves: Not(self.condition(leaves - 1)),
                lambda leaves: And(self.several(self.condition, leaves)),
                lambda leaves: Or(self.several(self.condition, leaves)),
            ]
        return self.one_of(kinds)(leaves)

    def comparison(self, leaves):
        left = self.measure(leaves)
        right = self.measure(leaves) if self.draw(st.booleans()) else self.draw(thresholds())
        sides = self.one_of([(left, right), (right, left)])
        return Comparison(sides[0], self.one_of(list(Operator)), sides[1])

    def measure(self, leaves):
        indicator = self.one_of(list(Indicator))
        return Measure(indicator, self.subject(leaves), self.window(indicator))

    def subject(self, leaves):
        # Groups cost most to evaluate: one in four.
        kinds = [self.asset] * 3 + [self.group] * (leaves > 1)
        return self.one_of(kinds)(leaves)

    def window(self, indicator):
        if indicator is Indicator.PRICE:
            return 1
        return self.draw(st.integers(2 if indicator is Indicator.RSI else 1, self.longest_window))

    def several(self, kind, leaves):
        count = self.draw(st.integers(1, min(leaves, WIDEST)))
        return tuple(kind(leaves // count) for _ in range(count))

    def one_of(self, choices):
        return self.draw(st.sampled_from(choices))

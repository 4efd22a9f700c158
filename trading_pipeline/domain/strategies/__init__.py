"""The strategies that the pipeline can run, and the language they are written in."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies.klm import KLM
from trading_pipeline.domain.strategies.nuclear import NUCLEAR
from trading_pipeline.domain.strategies.tecl import TECL
from trading_pipeline.domain.strategies.tree import Node


@dataclass(frozen=True)
class Strategy:
    """A named tree; ``name`` is how settings, tables and commands call it.

    ``drift_threshold`` is None for a strategy that is rebalanced every session.
    Otherwise its sleeve is left alone while no weight of it is further than
    that (fraction of the sleeve) from the session's target.
    """

    name: str
    title: str
    description: str
    tree: Node
    drift_threshold: float | None = None


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        strategy.name: strategy
        for strategy in (
            Strategy(
                name="nuclear",
                title="Nuclear",
                description=(
                    "Leaders of nuclear energy in bull markets, volatility when the market is overbought, "
                    "two views of the Nasdaq weighted by calm in bear markets."
                ),
                tree=NUCLEAR,
            ),
            Strategy(
                name="tecl",
                title="TECL for the long term",
                description=(
                    "Leveraged technology while it leads or is oversold, volatility beside T-bills when the market "
                    "is overbought, T-bills or an inverse fund otherwise."
                ),
                tree=TECL,
            ),
            Strategy(
                name="klm",
                title="KLM ensemble",
                description=(
                    "Eight variants that sort leveraged technology against managed futures and volatility; "
                    "the one that moved most over five sessions is held."
                ),
                tree=KLM,
                drift_threshold=0.1,
            ),
        )
    }
)
"""Every strategy by name: the only list of them."""


def strategy_named(name: str, strategies: Mapping[str, Strategy] = STRATEGIES) -> Strategy:
    """Return the strategy of that name among ``strategies``.

    Raises:
        InvalidInput: there is none; the message names those that there are.
    """
    if name in strategies:
        return strategies[name]
    near = difflib.get_close_matches(name.lower(), strategies, n=1)
    hint = f"did you mean {near[0]}? The" if near else "the"
    raise InvalidInput(f"there is no strategy {name!r}: {hint} strategies are {', '.join(strategies)}")

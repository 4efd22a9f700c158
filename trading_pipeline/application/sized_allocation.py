"""From the strategies' target to the one that is traded: sizing between the allocation and its orders.

The table ``allocation`` keeps what the strategies want: a sleeve that is
carried or held on is measured by that, so that what sizing took away one
session is not lost to the next. What is sized lives as long as the plan.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trading_pipeline.application.planning import PlannedOrders, Skipped
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.instruments import CASH, QUANTITY_STEP, WHOLE_SHARE, Instrument
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.sizing.options import SizingOptions
from trading_pipeline.domain.sizing.panel import SizingInputs, sizing_panel
from trading_pipeline.domain.sizing.weights import SizedWeights, sized_weights

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

    import pandas as pd

SIZING = "(sizing)"
"""Who put into cash what no strategy did, where an allocation is attributed."""

COLUMNS = ("symbol", "wanted", "sized", "cap", "band", "note")


@dataclass(frozen=True)
class SizedAllocation:
    """The target that is traded towards, the strategies' own, and how the one came from the other.

    Attributes:
        allocation: What orders are derived from.
        wanted: The strategies' target; the same object where nothing was sized.
        sizes: What became of each weight.
    """

    allocation: Allocation
    wanted: Allocation
    sizes: SizedWeights

    def tradable(self, instruments: Mapping[str, Instrument]) -> Mapping[str, Instrument]:
        """Return ``instruments`` without the symbols that should have no order."""
        left_alone = self.sizes.left_alone
        return {symbol: each for symbol, each in instruments.items() if symbol not in left_alone}

    def explained(self, planned: PlannedOrders) -> PlannedOrders:
        """Return ``planned`` with sizing's reason against each symbol that it left alone."""
        told = self.sizes.left_alone
        return replace(
            planned,
            skipped=tuple(
                Skipped(left.symbol, f"sizing leaves it alone: {told[left.symbol]}") if left.symbol in told else left
                for left in planned.skipped
            ),
        )

    def to_frame(self) -> "pd.DataFrame":
        """Return a row per symbol wanted or held in the end: both weights, cap, band (NaN for none) and a note."""
        import pandas as pd

        wanted, sizes = self.wanted.weights, self.sizes
        notes = {**sizes.left_alone, **sizes.missing, **sizes.dropped}
        rows = [
            (
                symbol,
                wanted.get(symbol, 0.0),
                sizes.weights.get(symbol, 0.0),
                sizes.caps.get(symbol, math.nan),
                sizes.bands.get(symbol, math.nan),
                notes.get(symbol, ""),
            )
            for symbol in sorted(wanted.keys() | sizes.weights.keys())
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


def first_session(session: "date", options: SizingOptions) -> "date":
    """Return the first session whose bars :func:`sized_allocation` of ``session`` looks at.

    >>> from datetime import date
    >>> str(first_session(date(2026, 7, 31), SizingOptions(volatility_sessions=20)))
    '2026-07-31'
    """
    return sessions.previous_session(session, options.sessions_needed - 1) if options.sessions_needed > 1 else session


def sized_allocation(
    allocation: Allocation,
    portfolio: Portfolio,
    bars: "pd.DataFrame",
    options: SizingOptions,
    *,
    whole_shares: bool = False,
) -> SizedAllocation:
    """Return what is traded of ``allocation``, given what ``portfolio`` holds.

    With nothing on, with nothing decided, or where equity is not positive
    (when nothing is planned either), the allocation is handed on as it is.

    Args:
        allocation: the strategies' target.
        portfolio: valued at the closes of the allocation's session.
        bars: a Bars frame from :func:`first_session` to the allocation's; what is not there counts as missing.
        options: which parts are on.
        whole_shares: whether fractions of shares are not traded.
    """
    if not options.parts or allocation.is_undecided or not _can_be_sized(portfolio):
        return SizedAllocation(allocation, allocation, SizedWeights(allocation.weights))
    step = WHOLE_SHARE if whole_shares else QUANTITY_STEP
    sizes = sized_weights(allocation.weights, _inputs(allocation, portfolio, bars, options, step), options)
    return SizedAllocation(_attributed(allocation, sizes), allocation, sizes)


def _can_be_sized(portfolio: Portfolio) -> bool:
    return portfolio.equity.is_finite() and portfolio.equity > 0


def _inputs(
    allocation: Allocation, portfolio: Portfolio, bars: "pd.DataFrame", options: SizingOptions, step: "Decimal"
) -> SizingInputs:
    days = sessions.sessions_between(first_session(allocation.session, options), allocation.session)
    panel = sizing_panel(bars, [*allocation.weights, options.safe_asset], days, options)
    held = {symbol: float(weight) for symbol, weight in portfolio.weights().items()}
    return panel.inputs(len(days) - 1, portfolio.equity, held, step)


def _attributed(allocation: Allocation, sizes: SizedWeights) -> Allocation:
    """Return the sized weights as an allocation: each symbol's shared out as it was wanted, what is over as cash."""
    wanted = {symbol: weight for symbol, weight in allocation.weights.items() if weight > 0}
    parts = [
        # The share of its symbol first: by itself a weight may be so small that the factor is infinite.
        replace(part, weight=sizes.weights.get(part.symbol, 0.0) * (part.weight / wanted[part.symbol]))
        if part.symbol in wanted
        else part
        for part in allocation.contributions
        if part.weight > 0
    ]
    parts += [part for symbol in sizes.weights.keys() - wanted.keys() for part in _stand_in(symbol, allocation, sizes)]
    # Rounding of the shares may leave a little less than nothing.
    rest = max(1 - math.fsum(part.weight for part in parts), 0.0)
    freed = [Contribution(CASH, SIZING, rest, SleeveStatus.DECIDED, allocation.session)] if rest else []
    return Allocation(allocation.session, (*parts, *freed))


def _stand_in(symbol: str, allocation: Allocation, sizes: SizedWeights) -> list[Contribution]:
    """Return the contributions to a symbol that nobody wanted, by what each strategy had invested."""
    invested: dict[str, list[Contribution]] = defaultdict(list)
    for part in allocation.contributions:
        if part.symbol != CASH and part.weight > 0:
            invested[part.strategy].append(part)
    total = math.fsum(allocation.weights.values())
    return [
        replace(
            parts[0], symbol=symbol, weight=sizes.weights[symbol] * math.fsum(part.weight for part in parts) / total
        )
        for parts in invested.values()
    ]

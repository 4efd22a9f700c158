"""Between the allocation and its orders: the target as sizing leaves it, and what is shown of that."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from trading_pipeline.application.sized_allocation import SizedAllocation, first_session, sized_allocation
from trading_pipeline.defs import metadata

if TYPE_CHECKING:
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.domain.allocation import Allocation
    from trading_pipeline.domain.portfolio import Portfolio


def sized_of(world: "TradingWorld", wanted: "Allocation", portfolio: "Portfolio") -> SizedAllocation:
    """Return what is traded of the allocation by the settings; bars are read only where something is on."""
    options = world.settings.sizing.options(world.settings.strategies.safe_asset)
    first = first_session(wanted.session, options)
    bars = world.tables.read("bars", first, wanted.session) if options.parts else pd.DataFrame()
    return sized_allocation(wanted, portfolio, bars, options, whole_shares=world.settings.orders.whole_shares)


def told_of(sized: SizedAllocation) -> Mapping[str, Any]:
    """Return what a person wants to see of sizing; nothing at all where nothing was sized."""
    if sized.allocation is sized.wanted:
        return {}
    sizes = sized.sizes
    return {
        "sizing": metadata.table(sized.to_frame()),
        "sized_volatility": "not measured" if math.isnan(sizes.volatility) else sizes.volatility,
        "sized_scale": sizes.scale,
        "sized_fallback": sizes.used_fallback,
    }

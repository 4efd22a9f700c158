"""Which parts of sizing are on, and their figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from trading_pipeline.domain.errors import InvalidInput


class SizingPart(StrEnum):
    """One way to change weights; those that are on act in this order, the two kinds of caps together."""

    INVERSE_VOLATILITY = "inverse_volatility"
    """What is invested is shared out by 1 / volatility."""
    ATR_CAPS = "atr_caps"
    """No symbol is larger than its average true range allows."""
    WEIGHT_CAPS = "weight_caps"
    """No symbol is larger than a fixed weight."""
    VOLATILITY_TARGET = "volatility_target"
    """All weights are lowered alike until the portfolio is as volatile as is wanted."""
    NO_TRADE_BAND = "no_trade_band"
    """Differences are left alone that are small beside the cost of trading them."""


class CovarianceMethod(StrEnum):
    """How the covariance of returns is estimated."""

    LEDOIT_WOLF = "ledoit_wolf"
    """Sample covariance, shrunk towards one variance for all."""
    EWMA = "ewma"
    """Exponentially weighted, with decay 0.94."""


_SMALLEST: Mapping[str, float] = {
    "volatility_sessions": 2,
    "atr_sessions": 1,
    "volume_sessions": 1,
    "least_band": 0,
    "half_spread_bps": 0,
    "impact": 0,
}
_POSITIVE = ("target_volatility", "largest_scale", "atr_risk", "atr_multiple", "max_weight")
_AT_MOST_ONE = ("largest_scale", "max_weight", "least_band")
# As indicators say of Wilder's smoothing; that module would bring pandas to whoever reads settings.
_WILDER_WINDOWS = 14


@dataclass(frozen=True)
class SizingOptions:
    """The parts that are on, none by default, and the figures of each.

    Attributes:
        parts: What is on.
        safe_asset: Held where inverse volatility knows the volatility of nothing.
        volatility_sessions: Daily returns behind every volatility and covariance.
        covariance: How covariance is estimated for the volatility target.
        target_volatility: Annualised volatility that the account should not exceed, as a fraction.
        largest_scale: Most that the volatility target leaves of the weights, from above 0 to 1.
        atr_risk: Fraction of equity that may be lost in one symbol when it moves ``atr_multiple`` ranges.
        atr_multiple: Average true ranges that count as the move.
        atr_sessions: Sessions of Wilder's average true range.
        max_weight: Largest weight of one symbol, as a fraction of equity.
        least_band: Weight difference (fraction of equity) that is left alone whatever trading costs.
        half_spread_bps: Half of the spread, in basis points.
        impact: Y of the square-root law, the cost in daily deviations of trading a day's volume.
        volume_sessions: Sessions of the average volume.

    Raises:
        InvalidInput: a figure is out of its range.
    """

    parts: frozenset[SizingPart] = frozenset()
    safe_asset: str = "BIL"
    volatility_sessions: int = 63
    covariance: CovarianceMethod = CovarianceMethod.LEDOIT_WOLF
    target_volatility: float = 0.25
    largest_scale: float = 1.0
    atr_risk: float = 0.005
    atr_multiple: float = 2.0
    atr_sessions: int = 14
    max_weight: float = 0.5
    least_band: float = 0.005
    half_spread_bps: float = 2.0
    impact: float = 0.7
    volume_sessions: int = 20

    def __post_init__(self) -> None:
        """Refuse figures with which nothing could be sized."""
        wrong = [name for name, least in _SMALLEST.items() if not least <= getattr(self, name) < math.inf]
        wrong += [name for name in _POSITIVE if not 0 < getattr(self, name) < math.inf]
        wrong += [name for name in _AT_MOST_ONE if getattr(self, name) > 1]
        if wrong:
            found = ", ".join(f"{name} {getattr(self, name)}" for name in dict.fromkeys(wrong))
            raise InvalidInput(f"sizing has figures out of range: {found}; correct them in the settings of sizing")

    @property
    def sessions_needed(self) -> int:
        """How many sessions of bars the figures are made from, the decided one included; 0 where all is off.

        >>> SizingOptions().sessions_needed, SizingOptions().with_parts(SizingPart.ATR_CAPS).sessions_needed
        (0, 197)
        """
        of_returns = self.volatility_sessions + 1
        needed = {
            SizingPart.INVERSE_VOLATILITY: of_returns,
            SizingPart.ATR_CAPS: _WILDER_WINDOWS * self.atr_sessions + 1,
            SizingPart.WEIGHT_CAPS: 1,
            SizingPart.VOLATILITY_TARGET: of_returns,
            SizingPart.NO_TRADE_BAND: max(of_returns, self.volume_sessions),
        }
        return max((needed[part] for part in self.parts), default=0)

    def with_parts(self, *parts: SizingPart) -> "SizingOptions":
        """Return the same figures with exactly these parts on."""
        return replace(self, parts=frozenset(parts))

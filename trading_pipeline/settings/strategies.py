"""Settings of what is wanted: strategies, their sizing, and symbols of your own."""

import math
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from trading_pipeline.domain.instruments import AssetClass, catalogue
from trading_pipeline.domain.sizing.options import CovarianceMethod, SizingOptions, SizingPart
from trading_pipeline.domain.strategy_breaker import BreakerRules
from trading_pipeline.settings.section import Section

SHARE_TOLERANCE = 1e-9


class StrategySettings(Section):
    """Which strategies trade, with how much, and what happens when one cannot decide."""

    capital_shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default={"nuclear": 0.3, "tecl": 0.5, "klm": 0.2},
        description="Share of the account's equity by strategy; fractions that sum to 1.",
    )
    folder: Path | None = Field(
        default=None, description="Folder of symphony files; each becomes a strategy called as its file is."
    )
    rsi_smoothing: Annotated[str, Field(pattern="^(wilder|cutler)$")] = Field(
        default="wilder",
        description="How the relative strength index is smoothed: wilder (the symphonies' own) or cutler.",
    )
    max_carried_sessions: Annotated[int, Field(ge=0, le=60)] = Field(
        default=3,
        description="Sessions for which an unavailable strategy keeps what it last decided; the next parks it.",
    )
    breaker_cool_down_sessions: Annotated[int, Field(ge=1, le=250)] = Field(
        default=1, description="Sessions that a sleeve stays parked at least, the one that parks it included."
    )
    safe_asset: str = Field(
        default="BIL", description="Symbol that a sleeve moves to when it was carried for too long."
    )
    safe_assets: dict[str, str] = Field(default={}, description="Another such symbol by strategy, as in tecl: SHY.")

    @field_validator("capital_shares")
    @classmethod
    def _sum_to_one(cls, shares: dict[str, float]) -> dict[str, float]:
        total = math.fsum(shares.values())
        if abs(total - 1) > SHARE_TOLERANCE:
            shown = ", ".join(f"{name} {share}" for name, share in shares.items()) or "none"
            raise ValueError(f"shares must sum to 1, but sum to {total:.10g} ({shown})")
        return shares

    @field_validator("safe_asset")
    @classmethod
    def _known(cls, symbol: str) -> str:
        if symbol not in catalogue():
            raise ValueError(f"{symbol!r} is not a known symbol; treasury bills are BIL")
        return symbol

    @field_validator("safe_assets")
    @classmethod
    def _all_known(cls, symbols: dict[str, str]) -> dict[str, str]:
        unknown = [f"{strategy}: {symbol}" for strategy, symbol in symbols.items() if symbol not in catalogue()]
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is not a known symbol; treasury bills are BIL")
        return symbols

    @model_validator(mode="after")
    def _of_strategies_with_capital(self) -> "StrategySettings":
        without = sorted(self.safe_assets.keys() - self.capital_shares.keys())
        if without:
            raise ValueError(f"safe_assets names {', '.join(without)}, to which capital_shares gives nothing")
        return self

    @property
    def breaker_rules(self) -> BreakerRules:
        """When a strategy's breaker opens, for how long, and where its sleeve goes then."""
        return BreakerRules(
            self.max_carried_sessions + 1, self.breaker_cool_down_sessions, self.safe_asset, self.safe_assets
        )


class SizingSettings(Section):
    """How the strategies' weights become the account's: each part is off by default, and changes what is held if on."""

    inverse_volatility: bool = Field(
        default=False, description="Share out what is invested by 1 / volatility instead of by the strategies' weights."
    )
    atr_caps: bool = Field(default=False, description="Let no symbol be larger than its average true range allows.")
    weight_caps: bool = Field(default=False, description="Let no symbol be larger than max_weight.")
    volatility_target: bool = Field(
        default=False, description="Lower all weights alike until the expected volatility is target_volatility."
    )
    no_trade_band: bool = Field(
        default=False, description="Leave weight differences (fractions of equity) alone that cost too much to trade."
    )
    volatility_sessions: Annotated[int, Field(ge=20, le=1260)] = Field(
        default=63, description="Sessions of daily returns behind volatilities and covariances."
    )
    covariance: CovarianceMethod = Field(
        default=CovarianceMethod.LEDOIT_WOLF,
        description="How covariance is estimated: ledoit_wolf (shrunk) or ewma (the newest sessions count most).",
    )
    target_volatility: Annotated[float, Field(gt=0, le=5)] = Field(
        default=0.25, description="Annualised volatility that the volatility target allows, as a fraction."
    )
    largest_scale: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Most that the volatility target leaves of the weights, however calm the market is."
    )
    atr_risk: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.005, description="Fraction of equity that a move of atr_multiple ranges of one symbol may cost."
    )
    atr_multiple: Annotated[float, Field(gt=0, le=100)] = Field(
        default=2.0, description="Average true ranges that count as such a move."
    )
    atr_sessions: Annotated[int, Field(ge=2, le=252)] = Field(
        default=14, description="Sessions of the average true range (Wilder's)."
    )
    max_weight: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="Largest weight of one symbol under weight_caps (fraction of equity)."
    )
    least_band: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.005, description="Weight difference (fraction of equity) below which no_trade_band never trades."
    )
    half_spread_bps: Annotated[float, Field(ge=0, le=500)] = Field(
        default=2.0, description="Half of the spread that no_trade_band reckons with, in basis points."
    )
    impact: Annotated[float, Field(ge=0, le=10)] = Field(
        default=0.7, description="Cost of trading a session's whole volume, in daily deviations of the return."
    )
    volume_sessions: Annotated[int, Field(ge=1, le=252)] = Field(
        default=20, description="Sessions over which the average volume is taken."
    )

    def options(self, safe_asset: str) -> SizingOptions:
        """Return what sizing acts on; ``safe_asset`` is that of the strategies."""
        switches = {part.value for part in SizingPart}
        parts = frozenset(part for part in SizingPart if getattr(self, part.value))
        return SizingOptions(parts=parts, safe_asset=safe_asset, **self.model_dump(exclude=switches))


class InstrumentSettings(Section):
    """What a symbol is that is not known yet; risk is counted by it."""

    asset_class: AssetClass = Field(description="What moves its price, such as equity sector or treasury.")
    leverage: Annotated[Decimal, Field(ge=-5, le=5)] = Field(
        default=Decimal(1), description="The fund's own daily multiple of what it follows; negative if inverse."
    )

    def __str__(self) -> str:
        """Show it in one line."""
        return f"{self.asset_class} x {self.leverage}"

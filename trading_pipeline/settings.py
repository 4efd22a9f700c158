"""One typed tree of settings: from a YAML file and the environment, every field with unit and default.

The environment wins over the file, the file over the defaults. A variable
``TRADING_PIPELINE__RISK__MAX_ORDERS_PER_SESSION=20`` sets
``risk.max_orders_per_session``; four names have variables of their own
(:data:`NAMED_VARIABLES`). An unknown key anywhere is an error.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import AssetClass, Instrument, catalogue
from trading_pipeline.domain.liquidation import Consent, LiquidationTrigger
from trading_pipeline.domain.risk.day_trades import DayTradeRule
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Ladder
from trading_pipeline.domain.risk.limits import FAMILIES, LimitFamily, RiskLimits
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.domain.sizing.options import CovarianceMethod, SizingOptions, SizingPart
from trading_pipeline.domain.strategy_breaker import BreakerRules

PREFIX = "TRADING_PIPELINE__"
FILE_VARIABLE = "TRADING_PIPELINE_SETTINGS"
NAMED_VARIABLES: Mapping[str, str] = {
    "TRADING_MODE": "mode",
    "TRADING_LIVE_ACCOUNT": "broker.live_account",
    "APCA_API_KEY_ID": "broker.key_id",
    "APCA_API_SECRET_KEY": "broker.secret_key",
}
SHARE_TOLERANCE = 1e-9
LIVE_SUFFIX = 6
# A half day lasts from 9:30 to 13:00.
SHORTEST_SESSION_MINUTES = 210
# Mappings that are one value, not a section.
WHOLE_FIELDS = frozenset({"strategies.capital_shares", "strategies.safe_assets", "instruments"})


class Mode(StrEnum):
    """Where orders go: a simulated broker on this machine, Alpaca's paper account, or real money."""

    SIMULATED = "simulated"
    PAPER = "paper"
    LIVE = "live"


class LogFormat(StrEnum):
    """How log lines look; auto is console at a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """From which level on our own events are logged; auto is warning at a terminal and info elsewhere."""

    AUTO = "auto"
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


Fraction = Annotated[Decimal, Field(ge=0, le=1)]
Fall = Annotated[Decimal, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Minutes = Annotated[int, Field(ge=0, le=240)]


class StrategySettings(_Section):
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


class OrderSettings(_Section):
    """How the allocation becomes orders."""

    band: Fraction = Field(
        default=Decimal("0.01"),
        description="Weight difference (fraction of equity) below which nothing trades; selling the unwanted may.",
    )
    minimum_notional: Annotated[Decimal, Field(ge=1)] = Field(
        default=Decimal(1), description="Smallest value of a buy, in dollars."
    )
    collar: Annotated[Decimal, Field(gt=0, le=Decimal("0.1"))] = Field(
        default=Decimal("0.10"),
        description="Largest move from the close that sized an order, as a fraction, times the fund's leverage.",
    )
    marketable_offset: Annotated[Decimal, Field(ge=0, le=Decimal("0.05"))] = Field(
        default=Decimal("0.001"),
        description="How far beyond the quote a limit is placed, inside the collar, so that it fills (fraction).",
    )
    model_equity: Annotated[Decimal, Field(gt=0)] = Field(
        default=Decimal(100_000), description="Equity of the model portfolio behind hypothetical plans, in dollars."
    )
    whole_shares: bool = Field(default=False, description="Trade whole shares only, even where fractions are allowed.")


class SizingSettings(_Section):
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


Share = Annotated[Decimal, Field(gt=0, le=1)] | None
Multiple = Annotated[Decimal, Field(gt=0, le=10)] | None


class RiskSettings(_Section):
    """Limits that every order must pass; what is not set is as the family of strategies has it."""

    family: LimitFamily = Field(
        default=LimitFamily.ROTATION,
        description="rotation: few funds at a time, leveraged ones too, moved in a day; ordinary: a spread portfolio.",
    )
    max_position_weight: Share = Field(
        default=None, description="Largest market value of one ordinary symbol (fraction of equity)."
    )
    max_leveraged_weight: Share = Field(
        default=None, description="Largest market value of one leveraged or inverse fund (fraction of equity)."
    )
    max_strategy_share: Share = Field(default=None, description="Largest share of equity that one strategy directs.")
    max_gross_leverage: Multiple = Field(default=None, description="All positions, as a multiple of equity.")
    max_net_leverage: Multiple = Field(default=None, description="Long less short positions, as a multiple of equity.")
    max_effective_leverage: Multiple = Field(
        default=None, description="All positions times the funds' own multiples, as a multiple of equity."
    )
    max_concentration: Share = Field(
        default=None, description="Largest sum of squared weights (Herfindahl index): 1 allows all in one symbol."
    )
    max_class_exposure: Multiple = Field(default=None, description="Largest share of equity in one asset class.")
    max_sector_exposure: Multiple = Field(default=None, description="Largest share of equity in one sector.")
    max_unclassified_exposure: Multiple = Field(
        default=None, description="Largest share of equity in symbols of which nobody knows the class."
    )
    max_order_value: Annotated[Decimal, Field(gt=0)] | None = Field(
        default=None, description="Largest value of one order, in dollars."
    )
    max_orders_per_session: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Most orders of one session."
    )
    max_session_turnover: Annotated[Decimal, Field(gt=0, le=100)] | None = Field(
        default=None, description="Most dollars bought and sold in one session, as a multiple of equity."
    )
    max_identical_orders: Annotated[int, Field(ge=1, le=1_000)] | None = Field(
        default=None, description="Most orders of the same symbol, side and quantity within a minute."
    )
    max_participation: Share = Field(
        default=None, description="Largest part of a symbol's average daily dollar volume in one order."
    )
    max_price_deviation: Share = Field(
        default=None, description="Largest distance of a limit from its reference price (fraction of it)."
    )
    max_value_at_risk: Share = Field(
        default=None, description="Largest loss of a day that one day in a hundred exceeds (fraction of equity)."
    )
    max_expected_shortfall: Share = Field(
        default=None, description="Largest average loss of the worst 2.5 % of days (fraction of equity)."
    )
    margin_buffer: Share = Field(
        default=None, description="Least equity above the maintenance margin of what is held on credit (fraction)."
    )
    day_trade_rule: DayTradeRule = Field(
        default=DayTradeRule.BOTH,
        description="legacy_pdt denies a 4th day trade below 25 000 dollars, intraday_margin counts none, both warns.",
    )
    block_wash_sales: bool = Field(
        default=False,
        description="Whether an order that makes a loss impossible to deduct is denied, not only told of.",
    )

    @property
    def limits(self) -> RiskLimits:
        """The limits of the family, with those that were set in their place."""
        return replace(FAMILIES[self.family], **self.model_dump(exclude={"family"}, exclude_none=True))


class DrawdownSettings(_Section):
    """How far the account may fall: below a warning nothing happens; fractions, of three times leveraged funds."""

    intraday_warning: Fall = Field(default=Decimal("0.08"), description="Fall from the session's high, told of.")
    intraday_reducing: Fall = Field(default=Decimal("0.12"), description="Likewise, trading only reduces.")
    intraday_halted: Fall = Field(default=Decimal("0.18"), description="Likewise, trading is halted.")
    daily_warning: Fall = Field(default=Decimal("0.06"), description="Fall from the close before, told of.")
    daily_reducing: Fall = Field(default=Decimal("0.10"), description="Likewise, trading only reduces.")
    daily_halted: Fall = Field(default=Decimal("0.15"), description="Likewise, trading is halted.")
    trailing_warning: Fall = Field(default=Decimal("0.20"), description="Fall from the highest mark, told of.")
    trailing_reducing: Fall = Field(default=Decimal("0.30"), description="Likewise, trading only reduces.")
    trailing_halted: Fall = Field(default=Decimal("0.40"), description="Likewise, trading is halted.")
    trailing_sessions: Annotated[int, Field(ge=1, le=1260)] = Field(
        default=63, description="Sessions over which the highest mark is looked for."
    )
    confirmation_seconds: Seconds = Field(
        default=5.0, description="Seconds between two readings that confirm each other; one alone trips nothing."
    )
    least_consistency: Fraction = Field(
        default=Decimal("0.90"),
        description="Broker's equity as a fraction of cash and positions at latest prices; below it trading reduces.",
    )

    @model_validator(mode="after")
    def _climb(self) -> "DrawdownSettings":
        for name in ("intraday", "daily", "trailing"):
            steps = [getattr(self, f"{name}_{rung}") for rung in ("warning", "reducing", "halted")]
            if steps != sorted(steps):
                raise ValueError(f"{name}_warning, {name}_reducing and {name}_halted must not fall, were {steps}")
        return self

    @property
    def limits(self) -> DrawdownLimits:
        """The limits of the drawdown guard."""
        return DrawdownLimits(
            intraday=Ladder(self.intraday_warning, self.intraday_reducing, self.intraday_halted),
            daily=Ladder(self.daily_warning, self.daily_reducing, self.daily_halted),
            trailing=Ladder(self.trailing_warning, self.trailing_reducing, self.trailing_halted),
            trailing_sessions=self.trailing_sessions,
            confirmation=timedelta(seconds=self.confirmation_seconds),
            consistency=self.least_consistency,
        )


class RiskWatchSettings(_Section):
    """How risk is watched while the session is open."""

    interval_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30, description="Seconds between two looks at account and market."
    )
    market_symbol: str = Field(
        default="SPY", description="Fund whose price stands for the market-wide breaker's index."
    )
    price_age_minutes: Annotated[int, Field(ge=1, le=390)] = Field(
        default=15, description="Age of the oldest trade, in minutes, that prices a position against the broker's."
    )
    patience_minutes: Annotated[int, Field(ge=1, le=390)] = Field(
        default=5, description="Minutes without usable figures of the account after which a person is told."
    )

    @property
    def price_age(self) -> timedelta:
        """How old a trade may be to price a position."""
        return timedelta(minutes=self.price_age_minutes)

    @property
    def patience(self) -> timedelta:
        """How long figures may be missing."""
        return timedelta(minutes=self.patience_minutes)


class ExecutionSettings(_Section):
    """When and how patiently orders are placed."""

    window_opens_after_minutes: Minutes = Field(
        default=1, description="Minutes after the open from which orders may be placed."
    )
    window_closes_before_minutes: Minutes = Field(
        default=15, description="Minutes before the close (13:00 on half days) until which orders may be placed."
    )
    order_timeout_seconds: Seconds = Field(
        default=60.0,
        description="Seconds after which a working order is cancelled, counted over all prices that it is given.",
    )
    max_reprices: Annotated[int, Field(ge=0, le=20)] = Field(
        default=3, description="How often the rest of an order is sent again, each time further from the quote."
    )
    orders_in_flight: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8, description="Orders on their way to the broker at once; sells all before buys."
    )
    time_limit_minutes: Annotated[int, Field(ge=1, le=390)] = Field(
        default=60, description="Minutes after a plan was journalled until which its orders may still be sent."
    )
    max_quote_age_minutes: Annotated[int, Field(ge=1, le=390)] = Field(
        default=15, description="Age of the oldest quote, in minutes, by which an order is priced; older ones wait."
    )
    relaunch_after_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=30,
        description="Seconds to the attempt after two that died, then 3 times, 7 times; 5 times where orders wait.",
    )
    lease_wait_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        default=30.0, description="Seconds that a run waits for another one that places orders here; then both do."
    )
    max_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=5, description="Runs that may fail to bring a session's orders to their end."
    )
    first_poll_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=0.02,
        description="Seconds before orders are first asked for; the pause grows with each answer.",
    )
    longest_poll_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=2.0, description="Longest pause between two questions, in seconds."
    )

    @model_validator(mode="after")
    def _leaves_a_window(self) -> "ExecutionSettings":
        cut = self.window_opens_after_minutes + self.window_closes_before_minutes
        if cut >= SHORTEST_SESSION_MINUTES:
            raise ValueError(
                f"window_opens_after_minutes and window_closes_before_minutes leave nothing of a half day: together "
                f"{cut}, they must stay below {SHORTEST_SESSION_MINUTES}"
            )
        return self


class MarketDataSettings(_Section):
    """How bars are fetched."""

    overlap_sessions: Annotated[int, Field(ge=1, le=250)] = Field(
        default=30, description="Sessions fetched again before the new one, to notice restated history."
    )
    bars_feed: Annotated[str, Field(pattern="^(iex|sip)$")] = Field(
        default="sip", description="Source of bars: sip (every exchange, also on the free plan) or iex (one exchange)."
    )
    quotes_feed: Annotated[str, Field(pattern="^(iex|sip)$")] = Field(
        default="iex", description="Source of quotes: iex (free plan) or sip (every exchange, paid plan)."
    )
    connections: Annotated[int, Field(ge=1, le=16)] = Field(
        default=4, description="Requests under way at once when many pages are needed."
    )
    max_missing_symbols: Fraction = Field(
        default=Decimal("0.5"),
        description="Fraction of the symbols that may lack the newest session before nothing is decided.",
    )


class BrokerSettings(_Section):
    """Account and keys."""

    key_id: SecretStr = Field(default=SecretStr(""), description="Alpaca's key id; set APCA_API_KEY_ID.")
    secret_key: SecretStr = Field(default=SecretStr(""), description="Alpaca's secret key; set APCA_API_SECRET_KEY.")
    live_account: str = Field(
        default="", description="Last six characters of the live account's number; needed in mode live only."
    )


class _CallSettings(_Section):
    connect_seconds: Seconds = Field(default=2.0, description="Seconds for a connection, name and handshake included.")
    # A process that is asked to end has ten seconds: what is on its way is waited for, then the stream is closed.
    answer_seconds: Seconds = Field(default=5.0, description="Seconds for one whole answer, however it drips.")
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="Failures in a row after which such calls are refused for a while."
    )
    breaker_window_seconds: Seconds = Field(
        default=60.0, description="Seconds over which half of at least ten calls must fail for the same."
    )
    breaker_pause_seconds: Seconds = Field(
        default=30.0, description="Seconds for which they are refused, before one is let through."
    )


class ReadCallSettings(_CallSettings):
    """How something is read: asked again after a passing failure."""

    attempts: Annotated[int, Field(ge=1, le=10)] = Field(default=4, description="Attempts in all, the first included.")
    first_wait_seconds: Seconds = Field(
        default=0.2, description="Longest wait after the first failure, in seconds; it doubles with each further one."
    )
    longest_wait_seconds: Seconds = Field(default=5.0, description="Longest wait between two attempts, in seconds.")
    deadline_seconds: Seconds = Field(
        default=30.0, description="Seconds for all attempts together, their waits and the quota's included."
    )


class OrderCallSettings(_CallSettings):
    """How an order is sent or cancelled: once; only the submit loop decides about another time."""

    # More than a minute, so that a quota that is used up is waited out.
    deadline_seconds: Seconds = Field(
        default=75.0, description="Seconds for the one attempt and its wait for the quota together."
    )


class QuotaSettings(_Section):
    """How many requests an account may send; the broker's own figures, which each answer carries, win."""

    requests_per_minute: Annotated[int, Field(ge=2, le=100_000)] = Field(
        default=200, description="Requests a minute that are allowed, as long as no answer told."
    )
    burst: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=60, description="Requests that may leave at once after a rest; fewer than those of a minute."
    )

    @model_validator(mode="after")
    def _leaves_a_rate(self) -> "QuotaSettings":
        if self.burst >= self.requests_per_minute:
            raise ValueError(f"burst, {self.burst}, must be below requests_per_minute, {self.requests_per_minute}")
        return self


class ResilienceSettings(_Section):
    """How patiently Alpaca is called, by kind of call."""

    trading_read: ReadCallSettings = Field(default_factory=ReadCallSettings)
    trading_order: OrderCallSettings = Field(default_factory=OrderCallSettings)
    trading_cancel: OrderCallSettings = Field(default_factory=OrderCallSettings)
    trading_quota: QuotaSettings = Field(default_factory=QuotaSettings)
    market_data_read: ReadCallSettings = Field(default_factory=ReadCallSettings)
    market_data_quota: QuotaSettings = Field(default_factory=QuotaSettings)


class SimulatorSettings(_Section):
    """The simulated broker and its market."""

    bars: Path | None = Field(
        default=None, description="Parquet or CSV file of daily bars; without one the market is generated."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(default=7, description="Seed of the generated market.")
    cash: Annotated[Decimal, Field(gt=0)] = Field(
        default=Decimal(100_000), description="Cash at the start, in dollars."
    )
    holdings: dict[str, Fraction] = Field(
        default={"SPY": Decimal("0.2")},
        description="Fractions of that cash which a new account holds in symbols, so that there is something to sell.",
    )
    half_spread_bps: Annotated[Decimal, Field(ge=0, le=500)] = Field(
        default=Decimal(2), description="Half of the modelled spread, in basis points of the mid."
    )


class ScheduleSettings(_Section):
    """When the schedules act, relative to the session."""

    decide_after_close_minutes: Minutes = Field(
        default=30, description="Minutes after the close at which the next session's orders are decided."
    )
    warm_before_open_minutes: Minutes = Field(
        default=45, description="Minutes before the open at which the bars are fetched once more."
    )
    sensor_interval_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30, description="Seconds between two looks for a plan to execute."
    )


class MonitoringSettings(_Section):
    """How long an order may stay where it is before a person is told, and how its changes are heard of."""

    acknowledge_within_seconds: Seconds = Field(
        default=10.0, description="Seconds within which the broker must show an order that was sent."
    )
    pending_within_seconds: Seconds = Field(
        default=30.0, description="Seconds within which a pending or accepted order must work, in the open session."
    )
    partial_within_seconds: Seconds = Field(
        default=120.0, description="Seconds within which a partially filled order must be filled or cancelled."
    )
    cancel_within_seconds: Seconds = Field(
        default=30.0, description="Seconds within which a cancellation must have taken effect."
    )
    watchdog_interval_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30, description="Seconds between two looks at the orders under way."
    )
    reduce_on_overdue: bool = Field(
        default=False, description="Let an overdue order change the trading state to reducing."
    )
    rejected_orders_before_reducing: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=3, description="Rejected or abandoned orders of a session at which the trading state becomes reducing."
    )
    reduce_on_external_orders: bool = Field(
        default=True, description="Let orders that are not ours, found in the account, change the state to reducing."
    )
    stream: bool = Field(
        default=True, description="Hear of order changes as they happen; without it they are asked for only."
    )
    stream_connect_seconds: Seconds = Field(default=10.0, description="Seconds for the stream's connection.")
    stream_authenticate_seconds: Seconds = Field(
        default=10.0, description="Seconds for the stream to accept the keys and the subscription."
    )
    stream_ping_seconds: Seconds = Field(default=10.0, description="Seconds between two pings of the stream.")
    stream_pong_seconds: Seconds = Field(
        default=10.0, description="Seconds within which a ping must be answered before the stream counts as dead."
    )
    stream_first_backoff_seconds: Seconds = Field(
        default=1.0, description="Shortest pause before the stream is connected again, in seconds."
    )
    stream_longest_backoff_seconds: Seconds = Field(
        default=30.0, description="Longest pause before the stream is connected again, in seconds."
    )
    stream_failures_before_polling: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="Failures of the stream in a row at which a person is told that orders are polled only."
    )
    stream_grace_seconds: Seconds = Field(
        default=2.0, description="Seconds by which the stream may lag behind what the broker answers when asked."
    )

    @model_validator(mode="after")
    def _backs_off_further(self) -> "MonitoringSettings":
        if self.stream_longest_backoff_seconds < self.stream_first_backoff_seconds:
            raise ValueError(
                f"stream_longest_backoff_seconds, {self.stream_longest_backoff_seconds:g}, must not be below "
                f"stream_first_backoff_seconds, {self.stream_first_backoff_seconds:g}"
            )
        return self


class TradingStateSettings(_Section):
    """What may hold trading beside the stored state, how long it is believed unread, and how a halt is carried out."""

    last_known_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        default=30.0, description="Seconds for which a source that cannot be read counts as it was last known."
    )
    errors_before_halting: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3,
        description="Failed readings in a row, after those seconds, at which reducing becomes halted.",
    )
    broker_flags_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        default=30.0, description="Seconds for which the broker's word on whether the account may trade counts."
    )
    keys_made_on: date | None = Field(
        default=None, description="Day on which the account's keys were made, such as 2026-07-01."
    )
    keys_max_age_days: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        default=None,
        description="Days that keys may be used: beyond, trading reduces, beyond 1.2 times as many it is halted.",
    )
    cancels_in_flight: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8, description="Cancels on their way to the broker at once when trading is halted."
    )
    cancel_patience_seconds: Seconds = Field(
        default=60.0, description="Seconds within which no order of ours may be open any more after a halt."
    )

    @model_validator(mode="after")
    def _knows_the_age_that_it_limits(self) -> "TradingStateSettings":
        if self.keys_max_age_days is not None and self.keys_made_on is None:
            raise ValueError("keys_max_age_days needs keys_made_on, the day on which the keys were made")
        return self


class LiquidationSettings(_Section):
    """What sets off that everything held is sold, and how; a person always may, by confirming it in a second step."""

    equity_drawdown: Consent = Field(
        default=Consent.CONFIRM,
        description="A drawdown that halts trading: off, confirm (a person is asked), automatic.",
    )
    volatility_spike: Consent = Field(default=Consent.CONFIRM, description="A move of volatility_multiple: likewise.")
    broken_reconciliation: Consent = Field(
        default=Consent.CONFIRM, description="Books that differ from the broker's: likewise."
    )
    volatility_multiple: Annotated[float, Field(gt=0, le=100)] = Field(
        default=6.0, description="Move of the market since the close before, in its daily deviations, that is a spike."
    )
    code_valid_minutes: Annotated[int, Field(ge=1, le=390)] = Field(
        default=15, description="Minutes within which a person may confirm with the code that was told."
    )
    slice_seconds: Seconds = Field(
        default=10.0, description="Seconds that an order works before its rest goes further from the quote."
    )
    patience_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=120.0, description="Seconds that one run waits for symbols which do not trade; the next run goes on."
    )
    afterwards: TradingMode = Field(
        default=TradingMode.HALTED, description="The trading state after it, until a person resets it."
    )

    @field_validator("afterwards")
    @classmethod
    def _stays_held(cls, mode: TradingMode) -> TradingMode:
        if mode is TradingMode.ACTIVE:
            raise ValueError("only a person lets trading go on after a liquidation; set reducing or halted")
        return mode

    def consent(self, trigger: LiquidationTrigger) -> Consent:
        """Return what a trigger leads to."""
        chosen = {
            LiquidationTrigger.EQUITY_DRAWDOWN: self.equity_drawdown,
            LiquidationTrigger.VOLATILITY_SPIKE: self.volatility_spike,
            LiquidationTrigger.BROKEN_RECONCILIATION: self.broken_reconciliation,
        }
        return chosen.get(trigger, Consent.CONFIRM)


class ResearchSettings(_Section):
    """Where the history of many strategies is computed: in one process, in several, or on several machines."""

    executor: Annotated[str, Field(pattern=r"^(in_process|multiprocess|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")] = Field(
        default="in_process",
        description="What runs the steps: in_process, multiprocess, or any Dagster executor, as package.module:name.",
    )
    processes: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Processes at once, where the executor is multiprocess."
    )
    shards: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Parts that the strategies are dealt to; without it one for each process."
    )
    exchange_folder: str | None = Field(
        default=None,
        description="Folder, or s3:// address, where steps hand frames to each other; without it in the home folder.",
    )

    @property
    def shard_count(self) -> int:
        """How many parts the strategies are dealt to; in one process there is nothing to gain from several."""
        return self.shards or (1 if self.executor == "in_process" else self.processes)


class ObservabilitySettings(_Section):
    """What is told of the work while it is done."""

    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="Log lines on standard error: json, console, or auto (console at a terminal).",
    )
    log_level: LogLevel = Field(
        default=LogLevel.AUTO,
        description="Lowest level of our own events that is logged; auto is warning at a terminal, info elsewhere.",
    )
    metrics: bool = Field(default=True, description="Record metrics, as lines of metrics.jsonl in the home folder.")


class InstrumentSettings(_Section):
    """What a symbol is that is not known yet; risk is counted by it."""

    asset_class: AssetClass = Field(description="What moves its price, such as equity sector or treasury.")
    leverage: Annotated[Decimal, Field(ge=-5, le=5)] = Field(
        default=Decimal(1), description="The fund's own daily multiple of what it follows; negative if inverse."
    )

    def __str__(self) -> str:
        """Show it in one line."""
        return f"{self.asset_class} x {self.leverage}"


class Settings(_Section):
    """Everything that a person may set."""

    mode: Mode = Field(default=Mode.SIMULATED, description="simulated, paper or live.")
    strategies: StrategySettings = Field(default_factory=StrategySettings)
    sizing: SizingSettings = Field(default_factory=SizingSettings)
    orders: OrderSettings = Field(default_factory=OrderSettings)
    risk: RiskSettings = Field(default_factory=RiskSettings)
    drawdown: DrawdownSettings = Field(default_factory=DrawdownSettings)
    risk_watch: RiskWatchSettings = Field(default_factory=RiskWatchSettings)
    execution: ExecutionSettings = Field(default_factory=ExecutionSettings)
    market_data: MarketDataSettings = Field(default_factory=MarketDataSettings)
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    resilience: ResilienceSettings = Field(default_factory=ResilienceSettings)
    simulator: SimulatorSettings = Field(default_factory=SimulatorSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    monitoring: MonitoringSettings = Field(default_factory=MonitoringSettings)
    trading_state: TradingStateSettings = Field(default_factory=TradingStateSettings)
    liquidation: LiquidationSettings = Field(default_factory=LiquidationSettings)
    research: ResearchSettings = Field(default_factory=ResearchSettings)
    observability: ObservabilitySettings = Field(default_factory=ObservabilitySettings)
    instruments: dict[str, InstrumentSettings] = Field(
        default={},
        description="Symbols of your own strategies that are not known yet: asset_class and leverage of each.",
    )

    @model_validator(mode="after")
    def _live_is_meant(self) -> "Settings":
        if self.mode is Mode.LIVE and len(self.broker.live_account) != LIVE_SUFFIX:
            raise ValueError(
                "mode live needs TRADING_LIVE_ACCOUNT, the last six characters of the account number, beside "
                "TRADING_MODE=live"
            )
        return self

    def known_instruments(self) -> Mapping[str, Instrument]:
        """Return the instruments that are known by name, and those that are described here."""
        described = {
            symbol: Instrument(symbol, chosen.asset_class, chosen.leverage)
            for symbol, chosen in self.instruments.items()
        }
        return {**catalogue(), **described}

    def fingerprint(self) -> str:
        """Return a hash of every setting but the secrets, to tell which settings made a decision."""
        plain = self.model_dump(mode="json", exclude={"broker": {"key_id", "secret_key"}})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class EffectiveSetting:
    """One effective setting, for people: its dotted name, value (secrets masked), source and meaning."""

    name: str
    value: str
    source: str
    description: str


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and for each dotted name that was set, where."""

    settings: Settings
    sources: Mapping[str, str]

    def listing(self) -> Iterator[EffectiveSetting]:
        """Yield every field in the tree's order."""
        yield from _listed(self.settings, "", self.sources)


def load_settings(file: Path | None, environment: Mapping[str, str]) -> LoadedSettings:
    """Read settings from ``file`` (or the one that the environment names) and the environment.

    Raises:
        InvalidInput: the file cannot be read or parsed, a key is unknown, or a value is out of range;
            every fault is named, with its place.
    """
    chosen = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if chosen is not None:
        for name, value, line in _leaves(chosen, _yaml(chosen)):
            _put(tree, name, value)
            sources[name] = f"{chosen}:{line}"
    for variable, name, value in _variables(environment):
        _put(tree, name, value)
        sources[name] = f"environment {variable}"
    try:
        return LoadedSettings(Settings.model_validate(tree), sources)
    except ValidationError as error:
        raise InvalidInput(_explained(error, sources)) from None


def _yaml(file: Path) -> yaml.MappingNode | None:
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InvalidInput(f"settings file {file} cannot be read: {error.strerror}; name another, or none") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"settings file {file} is not text in UTF-8; write it as YAML") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"settings file {file} is not YAML: {_first_lines(str(error))}; correct it") from None
    if node is None or _is_empty(node):
        return None
    if not isinstance(node, yaml.MappingNode):
        found = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise InvalidInput(f"settings file {file} must hold 'key: value' lines, was {found}")
    return node


def _leaves(file: Path, node: yaml.MappingNode | None, prefix: str = "") -> Iterator[tuple[str, Any, int]]:
    seen: set[str] = set()
    for key, value in node.value if node is not None else ():
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            raise InvalidInput(f"{file}:{line}: setting {name} is given a second time; keep one")
        seen.add(name)
        if isinstance(value, yaml.MappingNode) and value.value and name not in WHOLE_FIELDS:
            yield from _leaves(file, value, f"{name}.")
        elif not (_is_section(name) and _is_empty(value)):
            yield name, _constructed(value, f"{file}:{value.start_mark.line + 1}"), line


def _is_section(name: str) -> bool:
    section: type[BaseModel] = Settings
    for key in name.split("."):
        field = section.model_fields.get(key)
        if field is None or field.default_factory is None:
            return False
        section = cast("type[BaseModel]", field.annotation)
    return True


def _is_empty(node: yaml.Node) -> bool:
    # Every line of it may be commented out.
    return node.tag == "tag:yaml.org,2002:null" or (node.tag == "tag:yaml.org,2002:map" and not node.value)


def _constructed(node: yaml.Node, place: str) -> Any:  # noqa: ANN401 - YAML holds anything
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        # An impossible date such as 2026-02-30 is a ValueError of the YAML constructor.
        raise InvalidInput(f"{place}: {_first_lines(str(error))}; correct the value") from None
    finally:
        loader.dispose()


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    for variable in sorted(environment):
        text = environment[variable]
        if not text:
            continue
        if variable in NAMED_VARIABLES:
            yield variable, NAMED_VARIABLES[variable], text
        elif variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower().replace("__", ".")
            for leaf, value in _spelled_out(name, _parsed(variable, text)):
                yield variable, leaf, value


def _parsed(variable: str, text: str) -> Any:  # noqa: ANN401 - whatever the text spells
    # Variables may hold mappings: TRADING_PIPELINE__STRATEGIES__CAPITAL_SHARES='{nuclear: 1.0}'
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InvalidInput(f"environment {variable} begins like a mapping or list and is none; correct it") from None


def _spelled_out(name: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - whatever the text spelled
    whole = next((field for field in WHOLE_FIELDS if name.startswith(f"{field}.")), None)
    if whole is not None:
        raise InvalidInput(f"setting {name} is part of one value, {whole}; give that whole, as '{{key: value}}'")
    if isinstance(value, dict) and name not in WHOLE_FIELDS:
        for key, inner in value.items():
            yield from _spelled_out(f"{name}.{key}", inner)
    else:
        yield name, value


def _put(tree: dict[str, Any], name: str, value: object) -> None:
    *sections, leaf = name.split(".")
    for place, section in enumerate(sections, start=1):
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InvalidInput(
                f"setting {'.'.join(sections[:place])} was {inner!r}; it is a section, with keys below it"
            )
        tree = inner
    tree[leaf] = value


def _explained(error: ValidationError, sources: Mapping[str, str]) -> str:
    return "settings are wrong:\n" + "\n".join(f"  {_fault(item, sources)}" for item in error.errors())


def _fault(item: Any, sources: Mapping[str, str]) -> str:  # noqa: ANN401 - pydantic's error dictionary
    name = ".".join(str(part) for part in item["loc"])
    place = next((f" ({where})" for key, where in sources.items() if name == key or name.startswith(f"{key}.")), "")
    if item["type"] == "extra_forbidden":
        return f"{name}{place} is not a setting{_suggestion(name)}; `trading-pipeline settings` lists them all"
    message = item["msg"].removeprefix("Value error, ")
    hidden = "key" in name or name == "broker" or isinstance(item["input"], dict)
    shown = "" if hidden else f", was {item['input']!r}"
    return f"{name or 'settings'}{place}: {message[:1].lower()}{message[1:]}{shown}"


def _suggestion(name: str) -> str:
    known = [field.name for field in LoadedSettings(Settings(), {}).listing()]
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _listed(section: BaseModel, prefix: str, sources: Mapping[str, str]) -> Iterator[EffectiveSetting]:
    for key, info in type(section).model_fields.items():
        value, name = getattr(section, key), f"{prefix}{key}"
        if isinstance(value, BaseModel):
            yield from _listed(value, f"{name}.", sources)
        else:
            yield EffectiveSetting(name, _shown(value), sources.get(name, "default"), info.description or "")


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else "(not set)"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "(none)"
    return "(none)" if value is None else str(value)


def _first_lines(text: str, count: int = 3) -> str:
    return " ".join(line.strip() for line in text.splitlines()[:count])

"""Settings of what holds trading: limits, drawdowns, the trading state, emergency liquidation."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from trading_pipeline.domain.liquidation import Consent, LiquidationTrigger
from trading_pipeline.domain.risk.day_trades import DayTradeRule
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Ladder
from trading_pipeline.domain.risk.limits import FAMILIES, LimitFamily, RiskLimits
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.settings.section import Fall, Fraction, Multiple, Seconds, Section, Share


class RiskSettings(Section):
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


class DrawdownSettings(Section):
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


class RiskWatchSettings(Section):
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


class TradingStateSettings(Section):
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


class LiquidationSettings(Section):
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

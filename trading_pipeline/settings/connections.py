"""Settings of the world outside: market data, broker, how calls are guarded, the simulator."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from trading_pipeline.settings.section import Fraction, Seconds, Section


class MarketDataSettings(Section):
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


class BrokerSettings(Section):
    """Account and keys."""

    key_id: SecretStr = Field(default=SecretStr(""), description="Alpaca's key id; set APCA_API_KEY_ID.")
    secret_key: SecretStr = Field(default=SecretStr(""), description="Alpaca's secret key; set APCA_API_SECRET_KEY.")
    live_account: str = Field(
        default="", description="Last six characters of the live account's number; needed in mode live only."
    )


class _CallSettings(Section):
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


class QuotaSettings(Section):
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


class ResilienceSettings(Section):
    """How patiently Alpaca is called, by kind of call."""

    trading_read: ReadCallSettings = Field(default_factory=ReadCallSettings)
    trading_order: OrderCallSettings = Field(default_factory=OrderCallSettings)
    trading_cancel: OrderCallSettings = Field(default_factory=OrderCallSettings)
    trading_quota: QuotaSettings = Field(default_factory=QuotaSettings)
    market_data_read: ReadCallSettings = Field(default_factory=ReadCallSettings)
    market_data_quota: QuotaSettings = Field(default_factory=QuotaSettings)


class SimulatorSettings(Section):
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

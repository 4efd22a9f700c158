"""Settings of orders, from the allocation to the last fill."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, model_validator

from trading_pipeline.settings.section import Fraction, Minutes, Seconds, Section

# A half day lasts from 9:30 to 13:00.
SHORTEST_SESSION_MINUTES = 210


class OrderSettings(Section):
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


class ExecutionSettings(Section):
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

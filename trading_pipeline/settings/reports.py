"""Settings of reports: what the page of a session tells, the live page, and what the service promises."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from trading_pipeline.settings.section import Fraction, Minutes, Seconds, Section


class ReportSettings(Section):
    """The daily report, its mail, and the live page."""

    email: bool = Field(default=True, description="Give the report of each session as an alert of severity info.")
    sessions_shown: Annotated[int, Field(ge=1, le=250)] = Field(
        default=10, description="Sessions in the report's table of profits."
    )
    live_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="Port of the live page on this machine; 0 takes any that is free."
    )
    live_refresh_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=5, description="Seconds between two refreshes of the live page."
    )


class ServiceLevelSettings(Section):
    """What the service promises, and over how many sessions it is held to it."""

    sessions: Annotated[int, Field(ge=1, le=2000)] = Field(
        default=60, description="Sessions over which service levels and their error budgets are counted."
    )
    planned_share: Fraction = Field(
        default=Decimal("0.995"),
        description="Fraction of the sessions that have a plan in time.",
    )
    planned_before_window_minutes: Minutes = Field(
        default=5, description="Minutes before its execution window by which a session has its plan."
    )
    acknowledged_share: Fraction = Field(
        default=Decimal("0.99"),
        description="Fraction of the orders that are acknowledged in time.",
    )
    acknowledged_within_seconds: Seconds = Field(
        default=2.0, description="Seconds within which an order is acknowledged."
    )
    fresh_share: Fraction = Field(
        default=Decimal("0.995"),
        description="Fraction of the prices that are fresh when strategies decide.",
    )

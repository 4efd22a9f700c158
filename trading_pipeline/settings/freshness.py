"""Settings of how old prices may be before they are used for nothing."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from trading_pipeline.domain.freshness import FreshnessRules
from trading_pipeline.settings.section import Fraction, Section


class FreshnessSettings(Section):
    """What counts as fresh; strategies read the rest as missing, and no order buys it."""

    max_age_sessions: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0,
        description="Sessions by which a symbol's newest bar may be old; it is never carried forward, only told of.",
    )
    max_stale_share: Fraction = Field(
        default=Decimal("0.5"),
        description="Fraction of the symbols that strategies read which may not be fresh before nothing is decided.",
    )
    frozen_sessions: Annotated[int, Field(ge=1, le=250)] = Field(
        default=5, description="Sessions without a change of close or a sign of trading at which a symbol is frozen."
    )

    @property
    def rules(self) -> FreshnessRules:
        """The rules by which data_freshness judges."""
        return FreshnessRules(self.max_age_sessions, float(self.max_stale_share), self.frozen_sessions)

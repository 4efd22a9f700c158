"""The whole tree of settings."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field, model_validator

from trading_pipeline.domain.instruments import Instrument, catalogue
from trading_pipeline.settings.alerts import AlertSettings
from trading_pipeline.settings.checks import ChecksSettings
from trading_pipeline.settings.connections import (
    BrokerSettings,
    MarketDataSettings,
    ResilienceSettings,
    SimulatorSettings,
)
from trading_pipeline.settings.freshness import FreshnessSettings
from trading_pipeline.settings.health import HealthSettings
from trading_pipeline.settings.operation import (
    MonitoringSettings,
    ObservabilitySettings,
    ResearchSettings,
    ScheduleSettings,
)
from trading_pipeline.settings.orders import ExecutionSettings, OrderSettings
from trading_pipeline.settings.reports import ReportSettings, ServiceLevelSettings
from trading_pipeline.settings.risk import (
    DrawdownSettings,
    LiquidationSettings,
    RiskSettings,
    RiskWatchSettings,
    TradingStateSettings,
)
from trading_pipeline.settings.section import Section
from trading_pipeline.settings.strategies import InstrumentSettings, SizingSettings, StrategySettings

LIVE_SUFFIX = 6


class Mode(StrEnum):
    """Where orders go: a simulated broker on this machine, Alpaca's paper account, or real money."""

    SIMULATED = "simulated"
    PAPER = "paper"
    LIVE = "live"


class Settings(Section):
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
    freshness: FreshnessSettings = Field(default_factory=FreshnessSettings)
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    resilience: ResilienceSettings = Field(default_factory=ResilienceSettings)
    simulator: SimulatorSettings = Field(default_factory=SimulatorSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    monitoring: MonitoringSettings = Field(default_factory=MonitoringSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    trading_state: TradingStateSettings = Field(default_factory=TradingStateSettings)
    liquidation: LiquidationSettings = Field(default_factory=LiquidationSettings)
    checks: ChecksSettings = Field(default_factory=ChecksSettings)
    research: ResearchSettings = Field(default_factory=ResearchSettings)
    observability: ObservabilitySettings = Field(default_factory=ObservabilitySettings)
    reports: ReportSettings = Field(default_factory=ReportSettings)
    service_levels: ServiceLevelSettings = Field(default_factory=ServiceLevelSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
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
        alerts = {"email": {"password"}, "webhook": {"url"}}
        plain = self.model_dump(mode="json", exclude={"broker": {"key_id", "secret_key"}, "alerts": alerts})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

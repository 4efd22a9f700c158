"""One typed tree of settings: from a YAML file and the environment, every field with unit and default.

The environment wins over the file, the file over the defaults. A variable
``TRADING_PIPELINE__RISK__MAX_ORDERS_PER_SESSION=20`` sets
``risk.max_orders_per_session``; four names have variables of their own
(:data:`NAMED_VARIABLES`). An unknown key anywhere is an error.
"""

from trading_pipeline.settings.alerts import AlertSettings
from trading_pipeline.settings.checks import ChecksSettings
from trading_pipeline.settings.connections import (
    BrokerSettings,
    MarketDataSettings,
    OrderCallSettings,
    QuotaSettings,
    ReadCallSettings,
    ResilienceSettings,
    SimulatorSettings,
)
from trading_pipeline.settings.freshness import FreshnessSettings
from trading_pipeline.settings.health import HealthSettings
from trading_pipeline.settings.loading import (
    FILE_VARIABLE,
    NAMED_VARIABLES,
    PREFIX,
    EffectiveSetting,
    LoadedSettings,
    load_settings,
)
from trading_pipeline.settings.operation import (
    LogFormat,
    LogLevel,
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
from trading_pipeline.settings.strategies import InstrumentSettings, SizingSettings, StrategySettings
from trading_pipeline.settings.tree import Mode, Settings

__all__ = [
    "FILE_VARIABLE",
    "NAMED_VARIABLES",
    "PREFIX",
    "AlertSettings",
    "BrokerSettings",
    "ChecksSettings",
    "DrawdownSettings",
    "EffectiveSetting",
    "ExecutionSettings",
    "FreshnessSettings",
    "HealthSettings",
    "InstrumentSettings",
    "LiquidationSettings",
    "LoadedSettings",
    "LogFormat",
    "LogLevel",
    "MarketDataSettings",
    "Mode",
    "MonitoringSettings",
    "ObservabilitySettings",
    "OrderCallSettings",
    "OrderSettings",
    "QuotaSettings",
    "ReadCallSettings",
    "ReportSettings",
    "ResearchSettings",
    "ResilienceSettings",
    "RiskSettings",
    "RiskWatchSettings",
    "ScheduleSettings",
    "ServiceLevelSettings",
    "Settings",
    "SimulatorSettings",
    "SizingSettings",
    "StrategySettings",
    "TradingStateSettings",
    "load_settings",
]

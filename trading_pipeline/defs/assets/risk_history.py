"""Of group research: how often each rule of the risk engine would have acted on what every strategy wanted."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS
from trading_pipeline.application.sharded_history import evaluations_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.research import GROUP, KINDS, OWNERS, Range, fetched_bars
from trading_pipeline.defs.assets.sizing_comparison import account_rules
from trading_pipeline.defs.research import RISK_HISTORY
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.risk.limits import FAMILIES
from trading_pipeline.reporting.risk_history_plot import RulePanel, RuleStrip, risk_history_plot
from trading_pipeline.research.risk_history import AccountHistory, PlanRules, RiskHistory
from trading_pipeline.research.risk_history import risk_history as history_of
from trading_pipeline.research.rule_history import RuleKind
from trading_pipeline.research.sizing_comparison import AccountRules, allocations_of

TOGETHER = "together"
# The drawing lies in Dagster's record; each strategy is some tens of kilobytes of it.
MOST_DRAWN = 10


@dg.asset(
    name=RISK_HISTORY,
    group_name=GROUP,
    required_resource_keys={"world"},
    io_manager_key="tables",
    metadata=metadata.definition_metadata(RISK_HISTORY),
    owners=OWNERS,
    kinds=KINDS,
    code_version="1",
)
def risk_history(
    context: dg.AssetExecutionContext, config: Range, signal_history: pd.DataFrame
) -> dg.Output[pd.DataFrame]:
    """How often each rule would have acted on what the strategies wanted, by the defaults of both families.

    Each strategy that has a share of capital is judged as if it had all of it,
    and all together at their shares. The drawdown guard and the profit trend,
    as the settings have them, look at the worth of the same holdings.
    """
    world: TradingWorld = context.resources.world
    rules = account_rules(world)
    history = config.of(signal_history)
    history = history[history["strategy"].isin(list(rules.shares))]
    days = sessions.sessions_between(history["session"].min(), history["session"].max()) if len(history) else ()
    symbols = sorted({*history["symbol"].dropna(), *rules.all_safe_assets})
    if len(days) <= 1 or not history["symbol"].notna().any():
        raise DataError("no strategy with a share of capital was available over two sessions; choose a longer range")
    before = sessions.sessions_between(sessions.FIRST_DATE, days[0])[-HISTORY_SESSIONS:]
    bars = fetched_bars(context, symbols, before[0], days[-1])
    evaluations = evaluations_of(history)
    closes = close_panel(bars, symbols, days)
    accounts = {name: allocations_of(evaluations, closes, each) for name, each in _accounts(rules).items()}
    found = _judged(world, accounts, bars)
    frame = found.to_frame()
    return metadata.materialised(context, frame, _told(found, frame, world.market))


def _accounts(rules: AccountRules) -> Mapping[str, AccountRules]:
    """Return the account of each strategy alone, and of all together, by name."""
    alone = {name: replace(rules, shares={name: 1.0}) for name in rules.shares}
    return {**alone, TOGETHER: rules}


def _judged(world: TradingWorld, accounts: Mapping[str, Sequence[Allocation]], bars: pd.DataFrame) -> RiskHistory:
    chosen = world.settings.orders
    planned = PlanRules(
        chosen.model_equity, chosen.collar, chosen.band, chosen.minimum_notional, whole_shares=chosen.whole_shares
    )
    families = {family.value: limits for family, limits in FAMILIES.items()}
    return history_of(accounts, bars, world.instruments, families, planned, world.settings.drawdown.limits)


def _told(found: RiskHistory, frame: pd.DataFrame, market: str) -> dict[str, Any]:
    acted = frame[frame["sessions_acted"] > 0]
    shown = ["strategy", "family", "kind", "rule", "denied", "reduced", "warned", "sessions_acted", "highest", "limit"]
    return {
        "risk_history": _drawing(found),
        "first": str(found.sessions[0]),
        "last": str(found.sessions[-1]),
        "sessions": len(found.sessions),
        "acted": metadata.table(acted[shown].sort_values("sessions_acted", ascending=False, kind="stable")),
        "never_acted": len(frame) - len(acted),
        "market": market,
    }


def _drawing(found: RiskHistory) -> dg.MetadataValue[Any]:
    if len(found.accounts) > MOST_DRAWN:
        return dg.MetadataValue.text(f"{len(found.accounts)} accounts are too many to draw; at most {MOST_DRAWN} are")
    svg = risk_history_plot(found.sessions, [_panel(account) for account in found.accounts])
    return dg.MetadataValue.md(f"![risk_history](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def _panel(account: AccountHistory) -> RulePanel:
    place = {session: number for number, session in enumerate(account.sessions)}
    strips = [
        RuleStrip(
            rule.rule,
            rule.family if rule.kind is RuleKind.ORDER else rule.kind.value,
            [place[action.session] for action in rule.actions],
        )
        for rule in account.rules
        if rule.actions
    ]
    return RulePanel(account.strategy, strips, len(account.rules) - len(strips))

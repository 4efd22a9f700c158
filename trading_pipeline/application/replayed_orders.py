"""The orders of a decision made again, and the risk engine's word on them as far as it rests on what was recorded."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from trading_pipeline.application import planning, risk_inputs
from trading_pipeline.application.reconciliation_table import fills_from_frame
from trading_pipeline.application.records import Chain, Records
from trading_pipeline.application.replay import Replayed, Verdict, compared
from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS
from trading_pipeline.application.sized_allocation import first_session, sized_allocation
from trading_pipeline.application.symbol_facts import closes, instruments_of, tradability_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.freshness import reasons_against
from trading_pipeline.domain.orders import ArchivedDecision, OrderIntent, Plan
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.surveillance import fill_events, symbol_locks
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import Asset
from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from datetime import date

    from trading_pipeline.domain.allocation import Allocation
    from trading_pipeline.domain.portfolio import Portfolio
    from trading_pipeline.domain.risk.state import RiskState

TOLD_BY_THE_BROKER = frozenset(
    {
        BreachCode.TRADING_HALTED,
        BreachCode.REDUCING_ONLY,
        BreachCode.ACCOUNT_BLOCKED,
        BreachCode.MARKET_HALTED,
        BreachCode.SYMBOL_HALTED,
        BreachCode.CORPORATE_ACTION,
        BreachCode.SYMBOL_LOCKED,
        BreachCode.INPUT_MISSING,
        BreachCode.DUPLICATE_ORDER,
        BreachCode.WASH_TRADE,
        BreachCode.ORDERS_PER_SESSION,
        BreachCode.SESSION_TURNOVER,
        BreachCode.DAY_TRADES,
        BreachCode.WASH_SALE,
    }
)
"""Breaches that rest on what only the broker knew then: open orders, halts, the state in force."""


def replayed_orders(
    records: Records, chain: Chain, target: "Allocation", bars: pd.DataFrame, settings: Settings
) -> Sequence[Replayed]:
    """Return the steps from the allocation to the plan; none of a decision that has no plan.

    Args:
        records: where the portfolio, the catalogue and the stored orders are read.
        chain: what the plan rests on.
        target: the allocation as it was made again.
        bars: rows of table ``bars`` as far back as sizing and risk look.
        settings: those of now.
    """
    plan, version = chain.plan, chain.version("portfolio_snapshot")
    if plan is None or version is None:
        return ()
    session = chain.session
    held = planning.portfolio_from_frame(records.rows("portfolio_snapshot", session, session, version))
    catalog = records.rows("asset_catalog", session, session, chain.version("asset_catalog"))
    desk = _Desk(records, plan, held, target, bars, tradability_of(catalog), settings)
    try:
        now = desk.orders()
    except PipelineError as error:
        return (Replayed("orders", Verdict.UNKNOWN, f"the settings of now do not lead to any: {error}"),)
    stored = records.rows("order_plan", session, session, chain.version("order_plan"))
    then = planning.intents_from_frame(stored)
    orders = compared("orders", f"{len(now)} intended orders", list(_different_orders(then, now)))
    return orders, _decided(plan, now, desk.risk_state(now), settings)


@dataclass(frozen=True)
class _Desk:
    """What orders are made again from."""

    records: Records
    plan: Plan
    held: "Portfolio"
    target: "Allocation"
    bars: pd.DataFrame
    assets: Mapping[str, Asset]
    settings: Settings

    def orders(self) -> tuple[OrderIntent, ...]:
        chosen, options = self.settings.orders, self.settings.sizing.options(self.settings.strategies.safe_asset)
        session = self.target.session
        looked_at = self._since(first_session(session, options))
        sized = sized_allocation(self.target, self.held, looked_at, options, whole_shares=chosen.whole_shares)
        return planning.plan_orders(
            sized.allocation,
            self.held,
            closes(self._since(session)),
            sized.tradable(instruments_of(self.assets, self.settings.known_instruments())),
            account=self.held.account_number,
            plan_id=self.plan.plan_id,
            collar=chosen.collar,
            band=chosen.band,
            minimum_notional=chosen.minimum_notional,
            whole_shares=chosen.whole_shares,
        ).intents

    def risk_state(self, intents: Iterable[OrderIntent]) -> "RiskState":
        """Return the risk state as far as it was recorded: nothing open, nothing halted, trading active."""
        plan, symbols = self.plan, frozenset(intent.symbol for intent in intents)
        freshness = self.records.freshness(self.records.chain_of(plan))
        facts = risk_inputs.KnownFacts(
            self.assets,
            self.settings.known_instruments(),
            self._since(sessions.previous_session(plan.session, HISTORY_SESSIONS - 1)),
            not_fresh={} if freshness is None else reasons_against(freshness, symbols),
        )
        question = risk_inputs.RiskQuestion(self.held, symbols, plan.execution_session, plan.created_at)
        state = risk_inputs.modelled_state(question, self.target, TradingState(TradingMode.ACTIVE), facts)
        if plan.hypothetical:
            return state
        known = fills_from_frame(self.records.tables.read("fills", last=plan.session))
        fills = tuple(fill for fill in known if fill.filled_at < plan.created_at)
        return replace(state, fills=fills, locks=symbol_locks(fill_events(fills), plan.created_at))

    def _since(self, first: "date") -> pd.DataFrame:
        return self.bars[self.bars["session"] >= first]


def _different_orders(then: Iterable[OrderIntent], now: Iterable[OrderIntent]) -> Iterator[str]:
    old, new = ({intent.client_order_id: intent for intent in intents} for intents in (then, now))
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield f"{name}: only {'recorded' if after is None else 'now'}, {_order(before or after)}"
        elif _order(before) != _order(after):
            yield f"{name}: recorded {_order(before)}; now {_order(after)}"


def _order(intent: OrderIntent | None) -> str:
    if intent is None:
        return "none"
    limit = "" if intent.limit_price is None else f", limit {intent.limit_price.normalize():f}"
    quantity, price = intent.quantity.normalize(), intent.reference_price.normalize()
    return f"{intent.side} {quantity:f} {intent.symbol}, sized at {price:f}{limit} ({intent.reason})"


def _decided(plan: Plan, intents: Sequence[OrderIntent], state: "RiskState", settings: Settings) -> Replayed:
    then = {made.client_order_id: made for made in plan.decisions}
    now = {made.client_order_id: made for made in planning.archived(decide(intents, state, settings.risk.limits))}
    differing = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    beyond = [name for name in differing if _rests_on_the_broker(then.get(name), now.get(name))]
    told = [f"{name}: recorded {_word(then.get(name))}, now {_word(now.get(name))}" for name in differing]
    said = f"{len(now)} decisions, with nothing open or halted at the broker"
    if differing and len(beyond) == len(differing):
        return Replayed("risk decisions", Verdict.UNKNOWN, f"they rest on what the broker said then: {told[0]}")
    return compared(
        "risk decisions", said, [each for name, each in zip(differing, told, strict=True) if name not in beyond]
    )


def _rests_on_the_broker(then: ArchivedDecision | None, now: ArchivedDecision | None) -> bool:
    """Tell whether what the broker said explains the difference: what is said of both explains none."""
    if then is None:
        return False
    if now is not None and replace(then, warnings=now.warnings) == now:
        # Nothing but warnings differs: each stands for itself.
        differing = {*then.warnings} ^ {*now.warnings}
        return bool(differing) and all(map(_is_told_by_the_broker, differing))
    # A warning stops nothing, and so changes neither decision nor quantity.
    said_of_both = () if now is None else now.breaches
    return any(_is_told_by_the_broker(each) and each not in said_of_both for each in then.breaches)


def _is_told_by_the_broker(said: str) -> bool:
    return said.startswith(tuple(TOLD_BY_THE_BROKER))


def _word(made: ArchivedDecision | None) -> str:
    if made is None:
        return "none"
    why = "; ".join(made.breaches + made.warnings)
    return f"{made.decision} {made.quantity.normalize():f}" + (f" ({why})" if why else "")

"""Everything that a report on one session tells, gathered from the tables and a few answers of the world."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from trading_pipeline.application import performance as earned
from trading_pipeline.application import service_levels as levels
from trading_pipeline.domain import sessions
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.ports import Alert
from trading_pipeline.settings import ServiceLevelSettings

if TYPE_CHECKING:
    import pandas as pd

ZERO = Decimal(0)
TABLES = (
    *("portfolio_snapshot", "fills", "performance", "allocation", "approved_orders", "execution_quality"),
    *("reconciliation", "risk_report", "data_freshness"),
)
"""All tables that the facts of a session are of."""
SYNTHETIC = "synthetic"
REPORT_KEY = "report:"
"""How the key of the alert that brings a report begins."""


class TableReader(Protocol):
    """Tables by name."""

    def read(self, name: str, first: date | None = None, last: date | None = None) -> "pd.DataFrame":
        """Return the rows of sessions ``first`` to ``last``, both included; every column is there."""
        ...


@dataclass(frozen=True)
class ReportContext:
    """What no table says.

    Attributes:
        mode: simulated, paper or live.
        market: where prices come from; ``synthetic`` for a generated market.
        written_at: the UTC instant at which the report is made.
        alerts: what was told to people, oldest first; None where that cannot be read.
        planned_at: the UTC instant of the first executable plan of a session, None where there is none.
        deadline: the UTC instant before which a session's plan is wanted.
        promised: what the service promises.
        sessions_shown: rows of the table of profits.
        is_placed: whether the session's orders are known to have been placed; None leaves it to the tables.
        trading_state: the state in force, in words; empty where it is not known.
        audit_head: the head of the audit log, in words; empty where there is none.
    """

    mode: str
    market: str
    written_at: datetime
    alerts: Sequence[Alert] | None
    planned_at: Callable[[date], datetime | None]
    deadline: Callable[[date], datetime]
    promised: ServiceLevelSettings = field(default_factory=ServiceLevelSettings)
    sessions_shown: int = 10
    is_placed: bool | None = None
    trading_state: str = ""
    audit_head: str = ""

    @property
    def is_synthetic(self) -> bool:
        """Tell whether the prices are made up."""
        return self.market == SYNTHETIC


@dataclass(frozen=True, eq=False)
class SessionFacts:
    """The rows of one session's tables; a frame without rows where nothing is there yet.

    ``session`` is that of the decision, ``execution_session`` that of the
    orders. ``history`` holds the rows of table ``performance`` up to the
    execution session; ``realised`` what the session's executions realised,
    None where nothing was executed yet or lots are not known.
    """

    session: date
    context: ReportContext
    snapshot: "pd.DataFrame"
    targets: "pd.DataFrame"
    orders: "pd.DataFrame"
    fills: "pd.DataFrame"
    quality: "pd.DataFrame"
    reconciled: "pd.DataFrame"
    risk: "pd.DataFrame"
    freshness: "pd.DataFrame"
    history: "pd.DataFrame"
    weights: "pd.DataFrame"
    realised: Decimal | None
    service_levels: tuple[levels.ServiceLevel, ...]

    @property
    def execution_session(self) -> date:
        """The session in which the orders are placed."""
        return sessions.next_session(self.session)

    @property
    def is_decided(self) -> bool:
        """Tell whether the account was looked at and orders were derived."""
        return len(self.snapshot) > 0

    @property
    def is_placed(self) -> bool:
        """Tell whether the orders were placed, as far as anything says so."""
        if self.context.is_placed is not None:
            return self.context.is_placed
        return any(len(frame) for frame in (self.fills, self.quality, self.reconciled))

    @property
    def alerts(self) -> Sequence[Alert] | None:
        """What was told from the decision to the close of the execution session; None where it cannot be read."""
        if self.context.alerts is None:
            return None
        first, last = sessions.close_of(self.session), sessions.close_of(self.execution_session)
        names = (str(self.session), str(self.execution_session))
        return [
            alert
            for alert in self.context.alerts
            if not alert.key.startswith(REPORT_KEY)
            and (first <= alert.at < last or any(name in alert.key for name in names))
        ]


@dataclass(frozen=True)
class Holding:
    """A symbol as it is wanted and as it is held; weights are fractions of equity, None where not known.

    ``now`` is after the session's executions, at the prices of the decision.
    """

    symbol: str
    target: float | None
    before: float | None
    now: float | None
    shares: Decimal | None
    value: Decimal | None

    @property
    def drift(self) -> float | None:
        """Held less wanted; None where either is not known."""
        return None if self.now is None or self.target is None else self.now - self.target


def holdings(facts: SessionFacts) -> Sequence[Holding]:
    """Return every symbol that is wanted or held, by target, cash last."""
    before = _snapshot_by_symbol(facts.snapshot)
    targets = _targets(facts.targets)
    after = _after_executions(facts, before) if facts.is_decided and facts.is_placed else {}
    prices = _prices(facts, before)
    equity = sum((shares * prices.get(symbol, ZERO) for symbol, shares in after.items()), ZERO)
    found = [
        _holding(symbol, targets if len(facts.targets) else None, before, after, prices, equity)
        for symbol in {*targets, *before, *after}
    ]
    return sorted(found, key=lambda each: (each.symbol == CASH, -(each.target or 0), -(each.now or 0), each.symbol))


def _holding(
    symbol: str,
    targets: Mapping[str, float] | None,
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Decimal],
    prices: Mapping[str, Decimal],
    equity: Decimal,
) -> Holding:
    target = None if targets is None else targets.get(symbol, 0.0)
    was = before[symbol]["weight"] if symbol in before else 0.0
    if not after:
        row = before.get(symbol)
        return Holding(symbol, target, was if before else None, None, *(_held(row) if row else (None, None)))
    shares = after.get(symbol, ZERO)
    value = shares * prices[symbol] if symbol in prices else None
    now = None if value is None or equity <= 0 else float(value / equity)
    return Holding(symbol, target, was, now, None if symbol == CASH else shares, value)


def _held(row: Mapping[str, Any]) -> tuple[Decimal | None, Decimal]:
    return None if row["symbol"] == CASH else row["quantity"], row["market_value"]


def _snapshot_by_symbol(snapshot: "pd.DataFrame") -> Mapping[str, Mapping[str, Any]]:
    return {str(row["symbol"]): {str(k): v for k, v in row.items()} for row in snapshot.to_dict("records")}


def _targets(targets: "pd.DataFrame") -> Mapping[str, float]:
    found: dict[str, float] = {}
    for symbol, weight in zip(targets["symbol"], targets["weight"], strict=True):
        found[symbol] = found.get(symbol, 0.0) + float(weight)
    return found


def _after_executions(facts: SessionFacts, before: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Decimal]:
    after = {symbol: row["quantity"] for symbol, row in before.items()}
    for fill in _fills(facts.fills):
        after[fill.symbol] = after.get(fill.symbol, ZERO) + fill.signed_quantity
        after[CASH] = after.get(CASH, ZERO) - fill.signed_quantity * fill.price - fill.commission
    return {symbol: shares for symbol, shares in after.items() if shares or symbol == CASH}


def _prices(facts: SessionFacts, before: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Decimal]:
    executed = {fill.symbol: fill.price for fill in _fills(facts.fills)}
    planned = dict(zip(facts.orders["symbol"], facts.orders["reference_price"], strict=True))
    return executed | planned | {symbol: row["price"] for symbol, row in before.items()} | {CASH: Decimal(1)}


def _fills(frame: "pd.DataFrame") -> Sequence[Fill]:
    return [fill for fills in earned.executions_by_session(frame).values() for fill in fills]


def gathered(tables: TableReader, session: date, context: ReportContext) -> SessionFacts:
    """Read everything that is known of the decision of ``session`` and of its orders.

    Raises:
        InvalidInput: a table cannot be read, or ``session`` is not a session.
    """
    execution = sessions.next_session(session)
    snapshots, executions = tables.read("portfolio_snapshot", last=execution), tables.read("fills", last=session)
    snapshot = snapshots[snapshots["session"] == session].reset_index(drop=True)
    fills = executions[executions["session"] == session].reset_index(drop=True)
    account = earned.account_of(snapshots)
    history = tables.read("performance", last=execution)
    return SessionFacts(
        session=session,
        context=context,
        snapshot=snapshot,
        targets=tables.read("allocation", session, session),
        orders=tables.read("approved_orders", session, session),
        fills=fills,
        quality=tables.read("execution_quality", session, session),
        reconciled=tables.read("reconciliation", session, session),
        risk=tables.read("risk_report", session, session),
        freshness=tables.read("data_freshness", session, session),
        history=history if account is None else history[history["account_number"] == account],
        weights=snapshots.head(0) if account is None else earned.weights_over_time(snapshots, account),
        realised=_realised(snapshots[snapshots["session"] <= session], executions, session),
        service_levels=kept_levels(tables, session, context),
    )


def _realised(snapshots: "pd.DataFrame", executions: "pd.DataFrame", session: date) -> Decimal | None:
    account = earned.account_of(snapshots)
    fills = _fills(executions[executions["session"] == session])
    if account is None or not fills:
        return None
    rows = earned.performance(
        earned.valuations_of(snapshots, account),
        earned.executions_by_session(executions[executions["session"] < session]),
    )
    return earned.realised_by(rows[-1].profit.lots, fills)


def kept_levels(tables: TableReader, session: date, context: ReportContext) -> tuple[levels.ServiceLevel, ...]:
    """Return how each service level was kept over the sessions up to ``session``, from the account's first on."""
    promised = context.promised
    first = sessions.previous_session(session, promised.sessions - 1)
    snapshots = tables.read("portfolio_snapshot", first, session)
    begun = snapshots.loc[snapshots["source"] == earned.BROKER, "session"].min() if len(snapshots) else None
    expected = sessions.sessions_between(begun, session) if isinstance(begun, date) else []
    quality = tables.read("execution_quality", first, session)
    return (
        levels.planned_in_time(expected, context.planned_at, context.deadline, promised.planned_share),
        levels.acknowledged_in_time(
            quality["submit_to_ack_seconds"], promised.acknowledged_within_seconds, promised.acknowledged_share
        ),
        levels.executed_once(
            tables.read("approved_orders", first, session),
            quality,
            tables.read("fills", first, session),
            tables.read("reconciliation", first, session),
        ),
        levels.fresh_data(tables.read("data_freshness", first, session), promised.fresh_share),
    )

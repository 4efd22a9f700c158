"""A session's plan: its number, when it may still be made, what a hypothetical one starts from, and its storage."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.domain.allocation import Allocation
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.instruments import QUANTITY_STEP, Instrument, round_cents, round_quantity
from trading_pipeline.domain.orders import Plan, client_order_id
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.sessions import ExecutionWindow
from trading_pipeline.ports import OrderJournal, PlanStore

MODEL_ACCOUNT = "MODEL"


@dataclass(frozen=True)
class PlanNumber:
    """Which plan of a session this is; versions count from 1."""

    session: date
    version: int
    hypothetical: bool

    @property
    def plan_id(self) -> str:
        """The name under which the plan is known: its session and version.

        >>> PlanNumber(date(2026, 7, 31), 1, hypothetical=False).plan_id
        '2026-07-31.1'
        """
        return f"{'hypothetical-' if self.hypothetical else ''}{self.session}.{self.version}"


def is_hypothetical(window: ExecutionWindow, now: datetime, *, backfill: bool) -> bool:
    """Tell whether a plan made at ``now`` can be for research only: in a backfill, or too late to be executed."""
    return backfill or now >= window.end


def next_number(plans: PlanStore, account_number: str, session: date, *, hypothetical: bool) -> PlanNumber:
    """Return the number of the plan to be made now: one more than the newest stored."""
    stored = plans.hypothetical(session) if hypothetical else plans.versions(account_number, session)
    newest = max((plan.version for plan in stored), default=0)
    return PlanNumber(session, newest + 1, hypothetical)


def refuse_if_executed(journal: OrderJournal, account_number: str, session: date) -> None:
    """Stop where a plan of the session was already journalled: its records are history and stay as they are.

    Raises:
        DataError: a plan of the session holds it.
    """
    holder = journal.claimed(account_number, session)
    if holder is not None:
        raise DataError(
            f"plan {holder} of session {session} was executed, or is being executed: its portfolio, orders and plan "
            f"stay as they were. Signals and allocation of the session may be made again; orders may not"
        )


def model_portfolio(
    target: Allocation | None,
    prices: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
    equity: Decimal,
    as_of: datetime,
) -> Portfolio:
    """Return a portfolio of ``equity`` dollars that holds ``target`` exactly, or cash only without one.

    A symbol without a price is left in cash.
    """
    positions = {}
    for symbol, weight in (target.weights if target else {}).items():
        if symbol in prices:
            step = instruments[symbol].quantity_step() if symbol in instruments else QUANTITY_STEP
            quantity = round_quantity(Decimal(repr(weight)) * equity / prices[symbol], step)
            positions[symbol] = Position(symbol, quantity, prices[symbol])
    invested = sum((position.market_value for position in positions.values()), Decimal(0))
    return Portfolio(MODEL_ACCOUNT, as_of, round_cents(equity - invested), positions)


def store(plan: Plan, plans: PlanStore) -> None:
    """Persist ``plan``, once.

    Raises:
        DataError: an order of the plan does not carry the plan's id, or another run stored the
            version first; its plan stands and this one is discarded.
    """
    for order in plan.orders:
        wanted = client_order_id(plan.account_number, plan.plan_id, order.symbol, order.side)
        if order.client_order_id != wanted:
            raise DataError(
                f"order {order.client_order_id} of {order.symbol} is not of plan {plan.plan_id}: another plan of "
                f"session {plan.session} was stored meanwhile; materialise order_plan again"
            )
    if plans.put_if_absent(plan) != plan:
        raise DataError(f"another run stored plan {plan.plan_id} first; that one stands and this one is discarded")

"""Where a rehearsal takes place: a simulator in a folder of its own, with positions, inside the execution window."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from trading_pipeline.adapters.storage.home import Home, home_of
from trading_pipeline.application.effective_state import EffectiveState
from trading_pipeline.application.liquidation_desk import LiquidationDesk, session_of_orders
from trading_pipeline.application.liquidation_plan import NO_LIMITS
from trading_pipeline.application.planning import archived
from trading_pipeline.application.risk_inputs import open_orders, sent_orders
from trading_pipeline.application.sizing import Order
from trading_pipeline.application.submission import submitted
from trading_pipeline.application.venue import Desk, Pursuit
from trading_pipeline.defs.kill_switch import broker_source, effective_state
from trading_pipeline.defs.liquidation import desk_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.instruments import round_price
from trading_pipeline.domain.orders import (
    OrderIntent,
    OrderType,
    Plan,
    PlanPurpose,
    Side,
    TimeInForce,
    client_order_id,
)
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.rules import LIQUIDATION_RULES
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.settings import Settings
from trading_pipeline.simulator.control import SimulatorControl, start_simulator

THE_DAY_BEFORE = datetime(2026, 7, 30, 14, tzinfo=UTC)
IN_THE_WINDOW = datetime(2026, 7, 31, 14, tzinfo=UTC)
HOLDINGS = {"SPY": Decimal("0.3"), "TQQQ": Decimal("0.2"), "GLD": Decimal("0.2"), "TLT": Decimal("0.1")}
AT_THE_MARKET, FAR_AWAY = Decimal("0.95"), Decimal("1.5")
"""Limits of sales, as multiples of the price: one that fills, and one that works until it is cancelled."""

SENT = "POST /v2/orders"
LAST_KNOWN_SECONDS = 1.5
"""Seconds for which a silent source counts as it was last known, in a rehearsal; 30 otherwise."""

_READ = {"connect_seconds": 1, "answer_seconds": 2, "breaker_pause_seconds": 0.3}
_WAITS = {"attempts": 1, "first_wait_seconds": 0.02, "longest_wait_seconds": 0.1, "deadline_seconds": 3}
_QUOTA = {"requests_per_minute": 100_000, "burst": 50_000}
SETTINGS = {
    "liquidation": {"patience_seconds": 0, "slice_seconds": 0.5},
    "trading_state": {"last_known_seconds": LAST_KNOWN_SECONDS, "broker_flags_seconds": 0.2},
    "execution": {"order_timeout_seconds": 4, "longest_poll_seconds": 0.2},
    "monitoring": {"stream": False},
    "observability": {"metrics": False},
    "resilience": {
        "trading_read": _READ | _WAITS,
        "trading_order": _READ,
        "trading_cancel": _READ,
        "trading_quota": _QUOTA,
        "market_data_read": _READ | _WAITS,
        "market_data_quota": _QUOTA,
    },
}
"""A rehearsal's settings: those of the product with less patience, whatever the person's own are."""


class RehearsedWorld(TradingWorld):
    """A world whose trading state hears of its own store and broker only, not of this machine's environment."""

    @cached_property
    def trading_state(self) -> EffectiveState:
        """The trading state in force."""
        chosen = self.settings.trading_state
        return effective_state(chosen, self.stored_state, [broker_source(chosen, lambda: self.broker)], self.wall)


@dataclass(frozen=True)
class Stage:
    """A simulator in the execution window of a session, with positions, and its control plane."""

    home: Home
    settings: Settings
    control: SimulatorControl
    world: RehearsedWorld

    def restarted(self) -> RehearsedWorld:
        """Return a world as a process that has just started finds it."""
        return RehearsedWorld(self.settings, self.home)

    @property
    def desk(self) -> LiquidationDesk:
        """What a liquidation needs."""
        return desk_of(self.world)

    @property
    def sent(self) -> int:
        """How many orders ever reached the broker."""
        return self.control.requests().get(SENT, 0)

    def open_orders(self) -> Sequence[str]:
        """Return the symbols of the orders that are open at the broker, as its own books have it."""
        ended = {"filled", "canceled", "expired", "rejected", "replaced"}
        return [order["symbol"] for order in self.control.state()["orders"] if order["status"] not in ended]

    def held(self) -> dict[str, Decimal]:
        """Return the shares held by symbol, as the broker's own books have it."""
        positions = self.world.broker.portfolio().positions
        return {symbol: held.quantity for symbol, held in sorted(positions.items()) if held.quantity}

    def sales(self, number: int, symbols: Sequence[str], count: int = 1, price: Decimal = AT_THE_MARKET) -> Plan:
        """Return the plan of that number, which sells a share of each symbol ``count`` times.

        Limits are ``price`` times the position's price. The risk engine decides on the orders as on those of an
        emergency: what is rehearsed is how they leave. As such a plan, it takes the session from no other.
        """
        plan_id = f"drill-{number}"
        portfolio, broker, now = self.world.portfolio(), self.world.broker, self.world.clock.now()
        session, account = session_of_orders(now), portfolio.account_number
        intents = [
            _sale(account, name_of(plan_id, number), symbol, portfolio.positions[symbol].price, price)
            for symbol in symbols
            for number in range(count)
        ]
        state = RiskState(
            portfolio=portfolio,
            trading_state=self.world.trading_state.read(),
            at=now,
            session=session,
            assets=broker.assets(symbols),
            classes={},
            open_orders=open_orders(broker.orders()),
            sent=sent_orders(broker.orders(sessions.open_of(session))),
            market=MarketStatus(session, now, frozenset(symbols)),
            locks=(),
        )
        decisions = decide(intents, state, NO_LIMITS, LIQUIDATION_RULES)
        return Plan(
            plan_id=plan_id,
            account_number=account,
            session=sessions.previous_session(session),
            execution_session=session,
            version=number,
            created_at=now,
            hypothetical=False,
            orders=tuple(intents),
            lineage=(),
            code_version="",
            config_hash="",
            decisions=archived(decisions),
            purpose=PlanPurpose.LIQUIDATION,
        )

    def put_to_work(self, plan: Plan) -> None:
        """Send every order of ``plan`` once through the gate, and leave it at the broker.

        Raises:
            TradingHalted: the trading state stops it.
        """
        venue, now = self.world.venue, self.world.clock.now()
        venue.journal.claim(plan, now)
        desk = Desk(plan, venue, self.world.rules, now, now, venue.clock.elapsed())
        for number, intent in enumerate(plan.orders):
            submitted(Pursuit(intent, plan.account_number, name_of(plan.plan_id, number)), Order(intent), desk)


def name_of(plan_id: str, number: int) -> str:
    """Return the id under which the order of that number is known, as of a plan of its own; the first has the plan's.

    >>> name_of("drill-1", 0), name_of("drill-1", 2)
    ('drill-1', 'drill-1.2')
    """
    return f"{plan_id}.{number}" if number else plan_id


def _sale(account: str, plan_id: str, symbol: str, price: Decimal, factor: Decimal) -> OrderIntent:
    return OrderIntent(
        client_order_id=client_order_id(account, plan_id, symbol, Side.SELL),
        sequence=0,
        symbol=symbol,
        side=Side.SELL,
        quantity=Decimal(1),
        order_type=OrderType.LIMIT,
        limit_price=round_price(price * factor, up=False),
        reference_price=price,
        time_in_force=TimeInForce.DAY,
        reason="a drill",
    )


@contextmanager
def opened_stage() -> Iterator[Stage]:
    """Start a simulator in a temporary folder, buy positions, and take everything down at the end.

    Raises:
        DependencyUnavailable: the simulator did not start.
    """
    with tempfile.TemporaryDirectory(prefix="trading-pipeline-drill-") as folder:
        settings = Settings.model_validate(SETTINGS)
        home = home_of(settings, Path(folder)).prepared()
        running = start_simulator(
            home.simulator, start=THE_DAY_BEFORE, holdings=HOLDINGS, watch_parent=True, rate_limit=10**6
        )
        try:
            running.control.set_clock(IN_THE_WINDOW)
            yield Stage(home, settings, running.control, RehearsedWorld(settings, home))
        finally:
            running.stop()

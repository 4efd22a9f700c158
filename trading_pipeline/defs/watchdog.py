"""``order_watchdog``: looks at the orders under way, tells a person once of each that stands still, and settles."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import dagster as dg

from trading_pipeline.application.execution import settle
from trading_pipeline.application.monitoring import Moment, Overdue, OverdueKind, ServiceLevels, overdue
from trading_pipeline.defs.looking import looking_sensor
from trading_pipeline.defs.refused_orders import reduce_after_refusals
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.orders import Plan
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.ports import Alert, JournalEntry, Severity
from trading_pipeline.settings import MonitoringSettings

NAME = "order_watchdog"
CRITICAL = frozenset({OverdueKind.UNJOURNALLED, OverdueKind.UNKNOWN_STATUS, OverdueKind.UNACKNOWLEDGED})
RUNBOOKS = {
    OverdueKind.UNJOURNALLED: "order-unjournalled",
    OverdueKind.UNKNOWN_STATUS: "order-of-unknown-status",
    OverdueKind.UNACKNOWLEDGED: "order-unacknowledged",
    OverdueKind.CANCELLING: "order-does-not-move",
    OverdueKind.PENDING: "order-does-not-move",
    OverdueKind.PARTIALLY_FILLED: "order-does-not-move",
    OverdueKind.UNFINISHED: "order-unfinished",
}


def watched(world: TradingWorld) -> str:
    """Look once at the orders under way, do what is due, and return what was found in a line for people.

    What is left of plans whose time is over is settled first. Then every
    order that stands still beyond its service level becomes one alert, for
    ever, and one more in the metrics; where the settings say so, the trading
    state is tightened to reducing.

    Raises:
        PipelineError: broker, journal, plans or trading state gave no usable answer; the next look is as good.
    """
    now = world.clock.now()
    session = sessions.session_at(now) or sessions.last_completed_session(now)
    # Before anything is settled: another account would know nothing of these orders.
    account, decided = world.portfolio().account_number, sessions.previous_session(session)
    left = settle(world.venue, world.rules, now, account)
    world.audit.follow()
    plans = _plans_under_way(world.journal.claimed(account, decided), left)
    symbols = _symbols([*world.plans.versions(account, decided), *world.plans.liquidations(account, decided)])
    for plan_id in plans:
        reduce_after_refusals(world, plan_id, account, symbols)
    if not plans:
        return f"no plan of execution session {session} was begun, and nothing of an earlier one is open"
    if sessions.session_at(now) is None and not left:
        return f"session {session} is over, and every intent of it has ended"
    found = _overdue(world, session, account, plans, symbols, _moment(world, session, now))
    told = _told(world, found, now)
    return _summary(found, told, left)


def _plans_under_way(claimed: str | None, left: Sequence[JournalEntry]) -> Sequence[str]:
    names = [entry.plan_id for entry in left] if claimed is None else [claimed, *(entry.plan_id for entry in left)]
    return list(dict.fromkeys(names))


def _symbols(versions: Sequence[Plan]) -> Mapping[str, str]:
    return {order_id: symbol for plan in versions for order_id, symbol in plan.symbols.items()}


def _moment(world: TradingWorld, session: date, now: datetime) -> Moment:
    opened_at = None if sessions.session_at(now) is None else sessions.open_of(session)
    return Moment(now, world.wall.now(), opened_at, world.rules.window(session).end)


def _overdue(
    world: TradingWorld,
    session: date,
    account: str,
    plans: Sequence[str],
    symbols: Mapping[str, str],
    moment: Moment,
) -> Sequence[Overdue]:
    orders = world.broker.orders(sessions.open_of(session))
    # Read after the orders: what was sent in between is journalled, and what is listed was so before.
    history = [entry for plan_id in plans for entry in world.journal.history(plan_id, account)]
    return overdue(history, orders, symbols, moment, _service_levels(world.settings.monitoring))


def _service_levels(chosen: MonitoringSettings) -> ServiceLevels:
    return ServiceLevels(
        acknowledge=timedelta(seconds=chosen.acknowledge_within_seconds),
        pending=timedelta(seconds=chosen.pending_within_seconds),
        partial=timedelta(seconds=chosen.partial_within_seconds),
        cancel=timedelta(seconds=chosen.cancel_within_seconds),
    )


def _told(world: TradingWorld, found: Sequence[Overdue], now: datetime) -> int:
    for kind, count in (dict.fromkeys(OverdueKind, 0) | Counter(late.kind for late in found)).items():
        world.metrics.gauge("orders_overdue", count, kind=kind.value)
    told = [late for late in found if world.notifier.notify(_alert(late, now))]
    for late in told:
        world.metrics.count("order_alerts", kind=late.kind.value)
    if found and world.settings.monitoring.reduce_on_overdue:
        _reduce(world, found[0], now)
    return len(told)


def _alert(late: Overdue, now: datetime) -> Alert:
    return Alert(
        key=f"{NAME}:{late.kind}:{late.client_order_id}",
        severity=Severity.CRITICAL if late.kind in CRITICAL else Severity.WARNING,
        title=f"Order {late.kind}: {late.symbol or late.client_order_id}",
        text=f"Order {late.client_order_id} {late.text}",
        at=now,
        runbook=RUNBOOKS[late.kind],
    )


def _reduce(world: TradingWorld, worst: Overdue, now: datetime) -> None:
    reason = f"order {worst.client_order_id} {worst.kind}"
    world.trading_state.change(lambda state: state.tightened(TradingMode.REDUCING, reason, NAME, now))


def _summary(found: Sequence[Overdue], told: int, left: Sequence[JournalEntry]) -> str:
    if not found:
        return f"{len(left)} intents are under way, none beyond its service level"
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(late.kind for late in found).items())
    first = f"{found[0].symbol or found[0].client_order_id} {found[0].text}"
    return f"{len(found)} overdue ({kinds}), {told} of them told now; the gravest: {first}"


def order_watchdog(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that looks every ``interval_seconds`` at the orders under way."""
    return looking_sensor(
        NAME,
        (
            "Looks at the orders under way: one alert for each that is unacknowledged, pending, partially filled or "
            "stuck in cancel beyond its service level, of unknown status, unknown to the journal, or unfinished after "
            "its window. Settles what is left when the session is over. Launches nothing."
        ),
        interval_seconds,
        watched,
    )

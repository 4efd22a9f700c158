"""``alert_delivery``: carries pending alerts to people, and lets trading only reduce where nobody answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
import structlog

from trading_pipeline.adapters.alerting.channels import channels, in_use
from trading_pipeline.adapters.alerting.ledger import DeliveryState
from trading_pipeline.application.alerting import Deliverer, DeliveryRules, Outcome, escalate
from trading_pipeline.defs.halt_alerts import tell_of_halts
from trading_pipeline.defs.looking import looking_sensor
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.ports import Alert
from trading_pipeline.settings.alerts import AlertSettings

NAME = "alert_delivery"
# Beyond what one message may take by itself: a machine that is busy, a disk that is slow.
SPARE_SECONDS = 60.0


@dataclass(frozen=True)
class DeliveryReport:
    """What each channel that is used did, and how many alerts wait for one or were given up."""

    outcomes: Sequence[Outcome]
    pending: int
    given_up: int

    @property
    def troubles(self) -> Sequence[Outcome]:
        """The channels that failed."""
        return [outcome for outcome in self.outcomes if outcome.trouble]

    def __str__(self) -> str:
        """Say it in a line for people.

        >>> str(DeliveryReport([Outcome("email", 2), Outcome("webhook", 1, "it was refused")], 4, 0))
        '3 delivered, 4 pending, 1 failed (webhook: it was refused)'
        """
        if not self.outcomes:
            return "no channel is used: alerts are said on standard error, and kept"
        sent = sum(outcome.sent for outcome in self.outcomes)
        told = "; ".join(f"{outcome.channel}: {outcome.trouble}" for outcome in self.troubles)
        given_up = f", {self.given_up} given up" if self.given_up else ""
        counts = f"{sent} delivered, {self.pending} pending, {len(self.troubles)} failed{given_up}"
        return f"{counts} ({told})" if told else counts


def looked(world: TradingWorld) -> str:
    """Tell of halts, do what follows where nobody acknowledged, deliver what is pending; return it in a line.

    Raises:
        PipelineError: the outbox cannot be used, or the trading state cannot be changed; what is pending was
            delivered all the same, and the next look is as good.
    """
    minutes = world.settings.alerts.acknowledge_within_minutes
    within = None if minutes is None else timedelta(minutes=minutes)
    try:
        tell_of_halts(world)
    finally:
        late, report = _escalated_and_delivered(world, within)
    return f"{report}; trading only reduces: {late} not acknowledged in time" if late else str(report)


def _escalated_and_delivered(world: TradingWorld, within: timedelta | None) -> tuple[int, DeliveryReport]:
    try:
        late = escalate(world.notifier, world.trading_state, within, world.wall.now())
    finally:
        report = delivered(world)
    return late, report


def delivered(world: TradingWorld) -> DeliveryReport:
    """Deliver what is pending by every channel that is used, and return what became of it.

    Raises:
        DependencyUnavailable: the outbox cannot be used.
    """
    chosen = world.settings.alerts
    ledger = world.notifier.deliveries
    deliverer = Deliverer(world.notifier, ledger, rules_of(chosen), world.wall, world.metrics, _page(chosen))
    outcomes = deliverer.deliver(channels(chosen, world.wall, world.metrics))
    counts = ledger.counts()
    left = [counts.get(outcome.channel, {}) for outcome in outcomes]
    pending = sum(each.get(state, 0) for each in left for state in (DeliveryState.PENDING, DeliveryState.FAILED))
    return DeliveryReport(outcomes, pending, sum(each.get(DeliveryState.GIVEN_UP, 0) for each in left))


def deliver_pending(world: TradingWorld) -> str:
    """Do as :func:`looked`, at the end of a command whose own answer it must not spoil: never raises a PipelineError.

    What could not be done is logged, and is done by whoever delivers next.
    """
    try:
        return looked(world)
    except PipelineError as error:
        structlog.get_logger().error("alerts_not_delivered", error=f"{type(error).__name__}: {error}")
        return f"alerts were not delivered: {error}"


def _page(chosen: AlertSettings) -> Callable[[Alert], str] | None:
    if not chosen.email.host:
        return None
    from trading_pipeline.reporting.email import render_alert

    def page(alert: Alert) -> str:
        return render_alert(alert, runbook=chosen.runbook).html

    return page


def rules_of(chosen: AlertSettings) -> DeliveryRules:
    """Return how messages are delivered, as the settings say."""
    return DeliveryRules(
        limits={
            name: (channel.most_messages, timedelta(minutes=channel.window_minutes))
            for name, channel in in_use(chosen).items()
        },
        first_retry=timedelta(seconds=chosen.first_retry_seconds),
        longest_retry=timedelta(minutes=chosen.longest_retry_minutes),
        failures_before_telling=chosen.failures_before_telling,
        give_up_after=timedelta(hours=chosen.give_up_after_hours),
        lease=timedelta(seconds=chosen.connect_seconds + chosen.answer_seconds + SPARE_SECONDS),
        runbook=chosen.runbook,
    )


def alert_delivery(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that delivers every ``interval_seconds`` what is pending."""
    return looking_sensor(
        NAME,
        (
            "Carries alerts to people: each pending one by mail, webhook or console as the settings say, repeated "
            "until it is accepted, collected into a digest where too many come. Lets trading only reduce where a "
            "critical alert was not acknowledged in time. Launches nothing."
        ),
        interval_seconds,
        looked,
    )

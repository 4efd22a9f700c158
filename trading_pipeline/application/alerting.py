"""From an alert that is kept to a person, and what follows where nobody answers.

Whoever delivers claims one message at a time, sends it, and notes at once
that it was accepted: whoever dies in between leaves a message that is sent
once more, under the same id, and never one that is lost.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from trading_pipeline.domain.errors import (
    InvalidInput,
    PermanentError,
    RateLimited,
    RequestRefused,
    TransientError,
    Unauthorized,
)
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.ports import (
    RECOVERED,
    Alert,
    Channel,
    Clock,
    Delivery,
    Message,
    Metrics,
    Severity,
    TradingStateStore,
)

# The latch that an alert which nobody acknowledged sets.
SET_BY = "alerts"
UNACKNOWLEDGED = "alerts_unacknowledged"
FAILING = "alert_channel"
FAILING_RUNBOOK = "alert-channel-fails"
MOST_QUOTED = 50
LONGEST_QUOTE = 300
_SEVERITIES = list(Severity)


class Ledger(Protocol):
    """What is to be sent, what was, and who is sending it."""

    def claim(self, channel: str, now: datetime, most: int, window: timedelta, lease: timedelta) -> Delivery | None:
        """Return what is to be sent next by ``channel``, for this caller alone while the ``lease`` lasts."""
        ...

    def sent(self, delivery: Delivery, answer: str, now: datetime) -> None:
        """Note that a message was accepted; durable when this returns."""
        ...

    def failed(self, delivery: Delivery, answer: str, now: datetime, due_at: datetime | None) -> None:
        """Note that it was not, and when it is tried again; never without an instant."""
        ...

    def put_off(self, channel: str, now: datetime, until: datetime) -> None:
        """Let nothing more go by ``channel`` from ``now`` on, before that instant."""
        ...

    def last_sent(self, channel: str) -> datetime | None:
        """Return when ``channel`` last accepted something."""
        ...


class Outbox(Protocol):
    """What was told, and what became of it."""

    def notify(self, alert: Alert, *, without: Collection[str] = ()) -> bool:
        """Keep an alert for all channels but those; tell whether it is new."""
        ...

    def knows(self, key: str) -> bool:
        """Tell whether an alert of that key is kept."""
        ...

    def unanswered(self, told_before: datetime, told_after: datetime | None = None) -> Sequence[Alert]:
        """Return the critical alerts before that instant or after this one that nobody acknowledged or followed up."""
        ...

    def escalated(self, keys: Collection[str]) -> None:
        """Note that what follows was done for these alerts."""
        ...


@dataclass(frozen=True)
class DeliveryRules:
    """How messages are delivered.

    Attributes:
        limits: for each channel how many messages leave in which time; critical ones always do.
        first_retry: upper bound of the wait after a first failure; it doubles with each further one.
        longest_retry: the bound stops growing here.
        failures_before_telling: failures of one message after which the other channels are told.
        give_up_after: time since it was told after which a message that fails is given up.
        lease: longest time that one message may take; then another process may send it.
        budget_seconds: time for all channels of a look, in equal shares: each begins messages during its own share,
            and one in any case. Dagster ends a look after 60 s.
        runbook: where docs/operations.md is to be read.
    """

    limits: Mapping[str, tuple[int, timedelta]]
    first_retry: timedelta = timedelta(seconds=30)
    longest_retry: timedelta = timedelta(minutes=30)
    failures_before_telling: int = 3
    give_up_after: timedelta = timedelta(hours=24)
    lease: timedelta = timedelta(minutes=2)
    budget_seconds: float = 25.0
    runbook: str = "docs/operations.md"

    def longest_wait_after(self, attempts: int) -> timedelta:
        """Return the upper bound of the wait after ``attempts`` failures (from 1).

        >>> [str(DeliveryRules({}).longest_wait_after(attempts)) for attempts in (1, 2, 3, 99)]
        ['0:00:30', '0:01:00', '0:02:00', '0:30:00']
        """
        doublings = min(attempts - 1, 20)
        grown: timedelta = self.first_retry * 2**doublings
        return min(self.longest_retry, grown)


@dataclass(frozen=True)
class Outcome:
    """What one channel did: messages that were accepted, and why the next one was not; empty where all were."""

    channel: str
    sent: int = 0
    trouble: str = ""


class Deliverer:
    """Delivers what is pending; any number of them may be at work on one outbox."""

    def __init__(
        self,
        outbox: Outbox,
        ledger: Ledger,
        rules: DeliveryRules,
        clock: Clock,
        metrics: Metrics | None = None,
        page: Callable[[Alert], str] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Deliver what ``ledger`` holds.

        Args:
            outbox: is told where a channel fails, and where it works again.
            ledger: what is to be sent.
            rules: how.
            clock: this machine's.
            metrics: receives the counter ``alert_messages`` by channel and outcome.
            page: makes the HTML of an alert that brings none along; the channel does without it.
            draw: an even number in [0, 1), for the jitter.
        """
        self._outbox = outbox
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._page = page
        self._draw = draw

    def deliver(self, channels: Sequence[Channel]) -> Sequence[Outcome]:
        """Send what is due by each channel, and return what became of it.

        A channel that fails is left until the next call, so that it costs one
        patience and keeps no other channel waiting for more. One that is slow
        takes no time of the others' shares.

        Raises:
            DependencyUnavailable: the ledger cannot be used.
        """
        share = self._rules.budget_seconds / max(len(channels), 1)
        return [self._delivered(channel, self._clock.elapsed() + share) for channel in channels]

    def _delivered(self, channel: Channel, until: float) -> Outcome:
        sent = 0
        while self._clock.elapsed() < until:
            most, window = self._rules.limits[channel.name]
            delivery = self._ledger.claim(channel.name, self._clock.now(), most, window, self._rules.lease)
            if delivery is None:
                break
            trouble = self._sent(channel, delivery)
            if trouble:
                return Outcome(channel.name, sent, trouble)
            sent += 1
        return Outcome(channel.name, sent)

    def _sent(self, channel: Channel, delivery: Delivery) -> str:
        """Send one message, note what became of it, and return why it was not accepted."""
        before = self._ledger.last_sent(channel.name)
        try:
            answer = channel.send(message_of(delivery, self._rules.runbook, self._page))
        except (TransientError, PermanentError) as error:
            self._count(channel.name, "failed")
            self._failed(delivery, error, before)
            return f"{type(error).__name__}: {error}"
        # Nothing may come in between: whoever dies here sends it again.
        self._ledger.sent(delivery, answer, self._clock.now())
        self._count(channel.name, "sent")
        self._tell_of_recovery(channel.name, before)
        return ""

    def _failed(self, delivery: Delivery, error: TransientError | PermanentError, before: datetime | None) -> None:
        now, channel = self._clock.now(), delivery.channel
        due_at = self._due_at(delivery, error, now)
        self._ledger.failed(delivery, f"{type(error).__name__}: {error}", now, due_at)
        if due_at is not None and isinstance(error, RateLimited | Unauthorized | InvalidInput):
            # The next message would fare no better.
            self._ledger.put_off(channel, now, due_at)
        often = delivery.attempts + 1 >= self._rules.failures_before_telling
        if due_at is None or often or isinstance(error, PermanentError):
            self._outbox.notify(_failing(channel, error, before, now), without=[channel])

    def _due_at(self, delivery: Delivery, error: TransientError | PermanentError, now: datetime) -> datetime | None:
        """Return when to try again; None where the message itself is refused, or has been tried for too long."""
        if isinstance(error, RequestRefused) or now - delivery.told_at >= self._rules.give_up_after:
            return None
        if isinstance(error, PermanentError):
            # A person has to mend it, and until then every message waits.
            return now + self._rules.longest_retry
        # At least half of it: a server that is down is not asked at once by all that wait for it.
        bound = self._rules.longest_wait_after(delivery.attempts + 1)
        due_at = now + bound / 2 + bound / 2 * self._draw()
        named = error.retry_at if isinstance(error, RateLimited) else None
        return due_at if named is None else max(due_at, named)

    def _tell_of_recovery(self, channel: str, before: datetime | None) -> None:
        key = _failing_key(channel, before)
        if self._outbox.knows(key):
            title, now = f"Alerts by {channel} arrive again", self._clock.now()
            text = f"The channel {channel} accepted a message; what was pending for it follows."
            told = Alert(key + RECOVERED, Severity.INFO, title, text, now, FAILING_RUNBOOK)
            self._outbox.notify(told, without=[channel])

    def _count(self, channel: str, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.count("alert_messages", channel=channel, outcome=outcome)


def _failing_key(channel: str, before: datetime | None) -> str:
    # Whatever fails between two successes is one failure.
    return f"{FAILING}:{channel}:{'never' if before is None else before.isoformat()}"


def _failing(channel: str, error: Exception, before: datetime | None, now: datetime) -> Alert:
    since = "It never worked" if before is None else f"It last worked at {before:%Y-%m-%d %H:%M} UTC"
    return Alert(
        key=_failing_key(channel, before),
        severity=Severity.WARNING,
        title=f"Alerts by {channel} do not arrive",
        text=(
            f"{since}. {type(error).__name__}: {error}. What is pending stays pending: `trading-pipeline alerts list`. "
            f"Once it is mended: `trading-pipeline alerts test --channel {channel}`, then "
            f"`trading-pipeline alerts deliver --again`."
        ),
        at=now,
        runbook=FAILING_RUNBOOK,
    )


def message_of(delivery: Delivery, runbook: str, page: Callable[[Alert], str] | None = None) -> Message:
    """Return the message of a delivery: the alert, or the digest of several.

    Args:
        delivery: what is to be told; at least one alert.
        runbook: where docs/operations.md is to be read.
        page: makes the HTML of an alert that brings none along.
    """
    if len(delivery.alerts) > 1:
        return _digest(delivery)
    [alert] = delivery.alerts
    return Message(
        id=delivery.message,
        severity=alert.severity,
        title=alert.title,
        text=alert.text,
        at=alert.at,
        key=alert.key,
        html=alert.html or (page(alert) if page else ""),
        runbook=f"{runbook}#{alert.runbook}" if alert.runbook else "",
        answers=delivery.answers,
    )


def _digest(delivery: Delivery) -> Message:
    # The gravest first, and of those the oldest.
    alerts = sorted(delivery.alerts, key=lambda alert: -_SEVERITIES.index(alert.severity))
    worst = alerts[0].severity
    more = len(alerts) - MOST_QUOTED
    listed = [_quoted(alert) for alert in alerts[:MOST_QUOTED]]
    rest = [f"... and {more} more: `trading-pipeline alerts list`"] if more > 0 else []
    title = f"{len(alerts)} alerts in one message: more came than this channel's limit"
    return Message(delivery.message, worst, title, "\n\n".join([*listed, *rest]), max(alert.at for alert in alerts))


def _quoted(alert: Alert) -> str:
    text = " ".join(alert.text.split())
    shown = text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
    return f"[{alert.severity}] {alert.at:%Y-%m-%d %H:%M} {alert.title}\n{shown}\nKey: {alert.key}"


def escalate(outbox: Outbox, trading_state: TradingStateStore, within: timedelta | None, now: datetime) -> int:
    """Let trading only reduce where critical alerts were not acknowledged in time; return how many they are.

    The time counts from when an alert was told, whether or not a channel ever
    carried it: what reached nobody is no less critical. It follows once from
    each alert, and is told as one alert more, from which nothing follows.
    Where the clock was put back so far that the wait would more than double,
    it follows at once.

    Args:
        outbox: what was told.
        trading_state: where the latch ``alerts`` is set; a person resets it.
        within: time for a person to acknowledge; None where nothing follows ever.
        now: by the clock of this machine.

    Raises:
        TradingHalted: the state cannot be read; people are told all the same, and it is tried again at the next call.
        TransientError: state or outbox cannot be written; likewise.
        PermanentError: likewise.
    """
    if within is None:
        return 0
    unanswered = outbox.unanswered(now - within, now + within)
    late = [alert for alert in unanswered if not alert.key.startswith(UNACKNOWLEDGED)]
    if not late:
        return 0
    others = f" and {len(late) - 1} more" if len(late) > 1 else ""
    minutes = within / timedelta(minutes=1)
    reason = f"nobody acknowledged within {minutes:g} minutes: {late[0].title}{others}"
    try:
        trading_state.change(lambda state: state.tightened(TradingMode.REDUCING, reason, SET_BY, now))
    finally:
        outbox.notify(_unacknowledged(late, reason, now))
    outbox.escalated([alert.key for alert in late])
    return len(late)


def _unacknowledged(late: Sequence[Alert], reason: str, now: datetime) -> Alert:
    listed = "; ".join(f"{alert.title} ({alert.key})" for alert in late[:MOST_QUOTED])
    return Alert(
        key=f"{UNACKNOWLEDGED}:{late[0].key}",
        severity=Severity.CRITICAL,
        title=f"Trading only reduces: {reason}",
        text=(
            f"{listed}. Look at each, then `trading-pipeline alerts ack all` and "
            f"`trading-pipeline kill reset --latch {SET_BY}`."
        ),
        at=now,
        runbook="trading-only-reduces-nobody-acknowledged",
    )

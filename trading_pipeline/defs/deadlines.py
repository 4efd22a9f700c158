"""``deadline_watch``: what should have happened by now, and did not.

A decision that is not there by its deadline before the execution window, a
schedule's tick that did not happen or failed, a sensor that raises, a run
that does not end.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import dagster as dg

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.application.execution import plan_in_force
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.tick_watch import TICKS_RUNBOOK, TickWatch
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, PipelineError
from trading_pipeline.ports import RECOVERED, Alert, Severity
from trading_pipeline.settings import Mode

NAME = "deadline_watch"
RUNBOOK = "a-decision-is-missing"


@dataclass(frozen=True)
class DeadlinePlace:
    """What the watch remembers from look to look.

    Attributes:
        since: the market's time at the first look that could tell it; deadlines before it are not ours.
        ticks_after: this machine's time up to which the ticks of schedules were judged.
        missing: sessions whose decision was told of as missing.
        failing: the key of the alert that told of each sensor that raises.
    """

    since: datetime | None
    ticks_after: datetime
    missing: tuple[date, ...] = ()
    failing: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the place as Dagster keeps it, the cursor of the sensor."""
        plain = {
            "since": None if self.since is None else self.since.isoformat(),
            "ticks_after": self.ticks_after.isoformat(),
            "missing": [str(session) for session in self.missing],
            "failing": {**self.failing},
        }
        return json.dumps(plain, separators=(",", ":"))


def place_from(text: str) -> DeadlinePlace:
    """Read what :meth:`DeadlinePlace.text` wrote.

    Raises:
        DataError: it is something else.
    """
    try:
        found = json.loads(text)
        return DeadlinePlace(
            None if found["since"] is None else datetime.fromisoformat(found["since"]),
            datetime.fromisoformat(found["ticks_after"]),
            tuple(date.fromisoformat(session) for session in found["missing"]),
            {str(name): str(key) for name, key in found["failing"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the cursor of {NAME} cannot be read ({type(error).__name__}: {error}); it begins anew, nothing is told "
            f"twice"
        ) from error


def decision_deadline(world: TradingWorld, session: date) -> datetime:
    """Return when the decision of ``session`` must be there: so long before the window in which it is executed."""
    before = timedelta(minutes=world.settings.health.decision_deadline_minutes)
    return world.rules.window(sessions.next_session(session)).start - before


def market_time(world: TradingWorld) -> datetime:
    """Return the broker's time; where it does not answer, this machine's, unless the market is a simulated one.

    Raises:
        PipelineError: the market is simulated, and its simulator does not answer.
    """
    try:
        return world.clock.now()
    except PipelineError:
        if world.settings.mode is Mode.SIMULATED:
            raise
        return world.wall.now()


def is_decided(world: TradingWorld, session: date) -> bool:
    """Tell whether there is an executable plan of ``session``.

    Where the broker does not say whose account it is, a plan for any account counts.

    Raises:
        PipelineError: the plans cannot be read.
    """
    try:
        account = world.portfolio().account_number
    except PipelineError:
        keys = FileObjects(world.home.objects).list("plans/")
        return any(f"/{session}/" in key for key in keys)
    return plan_in_force(world.plans, world.journal, account, session) is not None


@dataclass
class DeadlineWatch:
    """One look; ``schedules`` and ``sensors`` are those of the code location."""

    world: TradingWorld
    instance: dg.DagsterInstance
    schedules: Collection[dg.ScheduleDefinition]
    sensors: Collection[str]
    told: int = field(init=False, default=0)

    def looked(self, cursor: str | None) -> DeadlinePlace:
        """Tell what is late, and return what is to be remembered.

        Raises:
            PipelineError: the disk fails; the next look is as good.
        """
        wall, chosen = self.world.wall.now(), self.world.settings.health
        ticks = TickWatch(self.instance, chosen, wall)
        try:
            now = market_time(self.world)
        except PipelineError:
            now = None
        place = _place(cursor) or DeadlinePlace(now, wall)
        for alert in (*ticks.schedules(self.schedules, place.ticks_after), *ticks.long_runs()):
            self._tell(alert)
        place = replace(place, ticks_after=max(place.ticks_after, ticks.judged_until))
        place = self._sensors_judged(place, ticks)
        return place if now is None else self._decision_judged(place, now)

    def _sensors_judged(self, place: DeadlinePlace, ticks: TickWatch) -> DeadlinePlace:
        alerts = {name: ticks.sensor_fails(name, tick) for name, tick in ticks.failing_sensors(self.sensors)}
        for name, alert in alerts.items():
            if name not in place.failing:
                self._tell(alert)
        for name in place.failing.keys() - alerts.keys():
            self._tell(self._over(place.failing[name], f"Sensor looks again: {name}", TICKS_RUNBOOK, ticks.now))
        return replace(place, failing={name: place.failing.get(name, alert.key) for name, alert in alerts.items()})

    def _decision_judged(self, place: DeadlinePlace, now: datetime) -> DeadlinePlace:
        session = sessions.last_completed_session(now)
        deadline = decision_deadline(self.world, session)
        since = place.since or now
        place = replace(place, since=since)
        if session not in place.missing and since <= deadline <= now and not is_decided(self.world, session):
            self._tell(self._missing(session, deadline, now))
            place = replace(place, missing=(*place.missing, session))
        arrived = [missed for missed in place.missing if is_decided(self.world, missed)]
        for missed in arrived:
            self._tell(self._over(_key(missed), f"The decision of {missed} is there", RUNBOOK, now))
        # What its session's end found missing stays so.
        return replace(place, missing=tuple(day for day in place.missing if day == session and day not in arrived))

    def _missing(self, session: date, deadline: datetime, now: datetime) -> Alert:
        window = self.world.rules.window(sessions.next_session(session))
        return Alert(
            key=_key(session),
            severity=Severity.CRITICAL,
            title=f"No decision for session {window.session}",
            text=(
                f"There is no executable plan of session {session}, which is executed from "
                f"{window.start:%Y-%m-%d %H:%M} to {window.end:%H:%M} UTC and had to be there by {deadline:%H:%M} UTC. "
                f"Nothing will be traded unless job decide is run for {session} before the window ends."
            ),
            at=now,
            runbook=RUNBOOK,
        )

    def _over(self, key: str, title: str, runbook: str, at: datetime) -> Alert:
        return Alert(
            key=key + RECOVERED,
            severity=Severity.INFO,
            title=title,
            text=f"{title}; what was told before is over.",
            at=at,
            runbook=runbook,
        )

    def _tell(self, alert: Alert) -> None:
        if self.world.notifier.notify(alert):
            self.told += 1
            self.world.metrics.count("deadline_alerts", severity=alert.severity.value)


def _place(cursor: str | None) -> DeadlinePlace | None:
    with suppress(DataError):
        return None if cursor is None else place_from(cursor)
    return None


def _key(session: date) -> str:
    return f"decision_missing:{session}"


def deadline_watch(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that looks every ``interval_seconds`` for what should have happened by now."""

    @dg.sensor(
        name=NAME,
        description=(
            "Tells a person once of a decision that is not there by its deadline before the execution window, of "
            "schedules that did not tick or failed, of sensors that raise, and of runs that do not end; and when "
            "that is over. Launches nothing."
        ),
        required_resource_keys={"world"},
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        location = context.repository_def
        schedules = location.schedule_defs if location else []
        sensors = [sensor.name for sensor in location.sensor_defs] if location else []
        try:
            watch = DeadlineWatch(context.resources.world, context.instance, schedules, sensors)
            place = watch.looked(context.cursor)
        except PipelineError as error:
            return dg.SkipReason(f"{type(error).__name__}: {error}")
        context.update_cursor(place.text())
        late = ", ".join(str(session) for session in place.missing) or "none"
        return dg.SkipReason(f"{watch.told} alerts; decisions that are missing: {late}")

    return look

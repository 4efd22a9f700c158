"""``trading-pipeline alerts``: what was told, whether it reached people, and a person's word that it did."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.console import answers, notices
from trading_pipeline.cli.options import HomeFolder, SettingsFile
from trading_pipeline.domain.errors import InvalidInput, PermanentError, TransientError
from trading_pipeline.domain.risk.trading_state import PERSON

if TYPE_CHECKING:
    from trading_pipeline.adapters.alerting.ledger import DeliveryStatus
    from trading_pipeline.adapters.notifiers import AlertOutbox, KeptAlert
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.ports import Channel, Message

ALL = "all"
_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

alerts = typer.Typer(
    help="Show what was told, test and repair the ways by which it reaches people, acknowledge it.",
    no_args_is_help=True,
)


@alerts.command("list")
def list_alerts(
    since: Annotated[
        str | None,
        typer.Option(help="Told since then: a day or instant (UTC) such as 2026-07-31, or 90m, 12h, 7d ago."),
    ] = None,
    unacknowledged: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool,
        typer.Option("--unacknowledged", help="Only what nobody acknowledged yet; what only informs wants no word."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print structured data.")] = False,  # noqa: FBT002 - typer makes a flag of it
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Show alerts, oldest first: when each was told, how severe it is, and where it stands on each channel.

    Pending is tried again by itself; given up is not, until `alerts deliver --again`. What an earlier version told is
    acknowledged already.
    """
    from trading_pipeline.ports import Severity

    outbox = _outbox(settings_file, home)
    kept = outbox.kept(None if since is None else _instant(since, _now()), unacknowledged=unacknowledged)
    if unacknowledged:
        # A report asks nothing of anybody, and would hide among its like what does.
        kept = [each for each in kept if each.alert.severity is not Severity.INFO]
    found = [(each, outbox.deliveries.status(each.alert.key)) for each in kept]
    if as_json:
        typer.echo(json.dumps([_data(each, status) for each, status in found], indent=2))
    elif found:
        _show(found)
    else:
        typer.echo("no alert")


@alerts.command("test")
def send_tests(
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="Only this one: email, webhook or console. All that are used without."),
    ] = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Send a test message now through each channel that is used, and show what each answered.

    Nothing is kept, nothing is repeated, no limit counts. The exit code is 1 where a channel did not accept it. A
    channel is used once the settings name it: alerts.email.host, alerts.webhook.url, alerts.console.enabled.
    """
    from trading_pipeline.adapters.alerting.channels import channels
    from trading_pipeline.adapters.clocks import WallClock
    from trading_pipeline.cli.workshop import chosen

    used = channels(chosen(settings_file, home, None).settings.alerts, WallClock())
    wanted = [each for each in used if channel in {None, each.name}]
    if not wanted:
        names = ", ".join(each.name for each in used) or "none"
        raise InvalidInput(
            f"no channel {channel or 'at all'} is used (in use: {names}); set alerts.email.host, alerts.webhook.url or "
            f"alerts.console.enabled"
        )
    results = [(each.name, *_tried(each)) for each in wanted]
    _table(["channel", "result", "answer"], [(name, "ok" if ok else "failed", said) for name, ok, said in results])
    if not all(ok for _, ok, _ in results):
        raise typer.Exit(1)


@alerts.command()
def ack(
    key: Annotated[str, typer.Argument(help="The alert's key, or the beginning of one; or all.")],
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Say that somebody knows of an alert, so that nothing further follows from it.

    A critical alert that nobody acknowledges within alerts.acknowledge_within_minutes lets trading only reduce. What
    was latched by then stays: `trading-pipeline kill reset --latch alerts`.
    """
    from trading_pipeline.cli.workshop import chosen_where_it_ran
    from trading_pipeline.defs.audit import trail_of
    from trading_pipeline.defs.outbox import outbox_of

    choice = chosen_where_it_ran(settings_file, home)
    outbox = outbox_of(choice.settings, choice.home)
    wanted = _matching(outbox, key)
    done = outbox.acknowledge(wanted, PERSON)
    if done:
        trail = trail_of(choice.settings, choice.home, outbox)
        trail.record([trail.scribe().acknowledged(each, PERSON) for each in done])
    for each in done:
        typer.echo(f"acknowledged: {each}")
    if not done:
        typer.echo("acknowledged before" if wanted else "nothing to acknowledge")


@alerts.command()
def deliver(
    again: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--again", help="Also what was given up, and what waits for its next attempt.")
    ] = False,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Deliver now what is pending, as the sensor alert_delivery does by itself.

    Beside a running sensor it is harmless: whatever one of them sends, the other leaves alone. The exit code is 1
    where a channel failed.
    """
    from trading_pipeline.defs.alert_delivery import delivered

    world = _world(settings_file, home)
    if again:
        count = world.notifier.deliveries.again(_now())
        notices().print(f"{count} put down to be delivered now", soft_wrap=True)
    report = delivered(world)
    typer.echo(str(report))
    if report.troubles:
        raise typer.Exit(1)


def _matching(outbox: "AlertOutbox", key: str) -> Sequence[str]:
    if key == ALL:
        return [each.alert.key for each in outbox.kept(unacknowledged=True)]
    if outbox.is_kept(key):
        return [key]
    begun = [each.alert.key for each in outbox.kept(unacknowledged=True) if each.alert.key.startswith(key)]
    if len(begun) == 1:
        return begun
    found = f"{len(begun)} alerts begin like that" if begun else "no alert that is not acknowledged begins like that"
    raise InvalidInput(f"{key!r} is no alert's key, and {found}; see `trading-pipeline alerts list --unacknowledged`")


def _tried(channel: "Channel") -> tuple[bool, str]:
    try:
        return True, channel.send(_test_message())
    except (TransientError, PermanentError) as error:
        return False, f"{type(error).__name__}: {error}"


def _test_message() -> "Message":
    import uuid

    from trading_pipeline.ports import Message, Severity

    text = "This is a test of the way by which alerts reach you. Nothing happened, and nothing is to be done."
    return Message(uuid.uuid4().hex, Severity.INFO, "Test of the alerts", text, _now())


def _instant(text: str, now: datetime) -> datetime:
    """Read a day, an instant or how long ago.

    >>> noon = datetime(2026, 7, 31, 12, tzinfo=UTC)
    >>> [str(_instant(text, noon)) for text in ("12h", "2026-07-30", "2026-07-30T09:30")]
    ['2026-07-31 00:00:00+00:00', '2026-07-30 00:00:00+00:00', '2026-07-30 09:30:00+00:00']
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - int(ago[1]) * _UNITS[ago[2]]
        if len(text) == len("2026-07-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidInput(f"--since must be such as 2026-07-31, 2026-07-31T09:30 or 12h, was {text!r}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _show(found: "Sequence[tuple[KeptAlert, Sequence[DeliveryStatus]]]") -> None:
    rows = [
        (
            f"{each.told_at:%Y-%m-%d %H:%M:%S}",
            each.alert.severity.value,
            f"{each.alert.title}\n{each.alert.key}",
            _acknowledged(each),
            "\n".join(_standing(one) for one in status) or "(none)",
        )
        for each, status in found
    ]
    _table(["told (UTC)", "severity", "alert", "acknowledged", "channels"], rows)


def _acknowledged(kept: "KeptAlert") -> str:
    if kept.acknowledged_at is None:
        return "no"
    return f"{kept.acknowledged_at:%Y-%m-%d %H:%M:%S}\nby {kept.acknowledged_by}"


def _standing(status: "DeliveryStatus") -> str:
    times = f" ({status.attempts} times)" if status.attempts > 1 else ""
    why = f": {status.answer}" if status.answer and status.state in {"failed", "given up"} else ""
    return f"{status.channel}: {status.state}{times}{why}"


def _data(kept: "KeptAlert", status: "Sequence[DeliveryStatus]") -> dict[str, object]:
    alert, at = kept.alert, kept.acknowledged_at
    return {
        "key": alert.key,
        "severity": alert.severity.value,
        "title": alert.title,
        "text": alert.text,
        "at": alert.at.isoformat(),
        "runbook": alert.runbook,
        "told_at": kept.told_at.isoformat(),
        "acknowledged_at": None if at is None else at.isoformat(),
        "acknowledged_by": kept.acknowledged_by,
        "deliveries": [
            {
                "channel": one.channel,
                "state": one.state.value,
                "attempts": one.attempts,
                "answer": one.answer,
                "changed_at": one.changed_at.isoformat(),
            }
            for one in status
        ],
    }


def _table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    answers().print(table)


def _outbox(settings_file: SettingsFile, home: HomeFolder) -> "AlertOutbox":
    from trading_pipeline.adapters.notifiers import AlertOutbox
    from trading_pipeline.cli.workshop import chosen_where_it_ran

    return AlertOutbox(chosen_where_it_ran(settings_file, home).home.alerts)


def _world(settings_file: SettingsFile, home: HomeFolder) -> "TradingWorld":
    from trading_pipeline.cli.workshop import chosen_where_it_ran
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.settings import StrategySettings

    choice = chosen_where_it_ran(settings_file, home)
    # Alerts must be seen whatever is wrong with the strategies.
    return TradingWorld(choice.settings.model_copy(update={"strategies": StrategySettings()}), choice.home)


def _now() -> datetime:
    from trading_pipeline.adapters.clocks import WallClock

    return WallClock().now()

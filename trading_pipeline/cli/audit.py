"""``trading-pipeline audit``: what is in the audit log, and whether it is the one that was written."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.console import explain_failure, notices
from trading_pipeline.cli.options import HomeFolder, SettingsFile, day
from trading_pipeline.domain.errors import InvalidInput, PipelineError

if TYPE_CHECKING:
    from trading_pipeline.adapters.storage.audit_verification import LogVerification
    from trading_pipeline.adapters.storage.home import Home
    from trading_pipeline.adapters.storage.objects import FileObjects
    from trading_pipeline.domain.audit import AuditRecord
    from trading_pipeline.domain.audit_verification import Finding

CORRUPT, UNREADABLE = 1, 2
MOST_FINDINGS = 100
LONGEST_PAYLOAD = 160

Since = Annotated[str | None, typer.Option("--since", help="Only what was written on this day (UTC) or later.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
ObjectsFolder = Annotated[
    Path | None, typer.Option("--objects", help="A copy of the folder objects, in the place of the home's own.")
]

audit = typer.Typer(help="Show the audit log, and verify that it is whole.", no_args_is_help=True)


@audit.command()
def verify(
    since: Since = None,
    anchor: Annotated[
        str | None, typer.Option("--anchor", help="A head that was kept elsewhere, such as 1234:9f2c41d0.")
    ] = None,
    complete: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--complete", help="Compare with the order journal and the history of the trading state.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002 - typer makes a flag of it
    objects: ObjectsFolder = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Tell whether any record was edited, removed, reordered, repeated or cut off.

    The exit code is 0 where the log is whole, 1 where it is not (each finding is named with its file and line), and 2
    where it could not be read, or there is none. With --since the first record of that day is believed. An anchor, from
    a daily report, shows what was cut off of both the log and its head, or written anew; one of a day before --since is
    refused.
    """
    try:
        look, findings = _looked(since, anchor, objects, settings_file, home, complete=complete)
        corrupt = _say(look, findings, as_json=as_json)
    except PipelineError as error:
        if as_json:
            typer.echo(json.dumps({"status": "unreadable", "error": str(error)}))
        explain_failure(error)
        raise typer.Exit(UNREADABLE) from None
    if corrupt:
        raise typer.Exit(CORRUPT)


def _looked(
    since: str | None,
    anchor: str | None,
    objects: Path | None,
    settings_file: Path | None,
    home: Path | None,
    *,
    complete: bool,
) -> "tuple[LogVerification, Iterator[Finding]]":
    from trading_pipeline.adapters.storage.audit_verification import Anchor, LogVerification, holds_log

    stored = _objects(objects, settings_file, home)
    look = LogVerification(stored, _day(since), None if anchor is None else Anchor.of(anchor))
    if objects is None:
        compared = _with_sources if complete else _with_notes
        return look, compared(look, stored, _home(settings_file, home))
    if complete:
        raise InvalidInput("--complete compares with the journal of the home, and --objects names another folder")
    if not holds_log(stored):
        raise InvalidInput(f"{objects} holds no audit log: name the folder in which audit and anchors lie")
    return look, look.findings()


def _with_sources(look: "LogVerification", stored: "FileObjects", home: "Home") -> "Iterator[Finding]":
    from trading_pipeline.adapters.storage.audit import StoredAuditLog
    from trading_pipeline.defs.audit import sources_missing

    is_whole = True
    for finding in look.findings():
        is_whole = is_whole and not finding.is_corruption
        yield finding
    if is_whole:
        yield from sources_missing(StoredAuditLog(stored), stored, home)


def _with_notes(look: "LogVerification", stored: "FileObjects", home: "Home") -> "Iterator[Finding]":
    """Yield the findings and, where the log is empty, what else tells that it should not be."""
    yield from look.findings()
    if look.is_empty:
        # Here and not above: what these open takes longer than a whole log.
        from trading_pipeline.defs.audit import lines_of_an_empty_log
        from trading_pipeline.domain.audit_verification import FindingKind

        yield from (replace(each, kind=FindingKind.NOTE) for each in lines_of_an_empty_log(stored, home))


def _say(look: "LogVerification", findings: "Iterator[Finding]", *, as_json: bool) -> bool:
    """Print what was found, at most so many lines of it, and tell whether the log is corrupt."""
    corrupt = 0
    shown: list[Finding] = []
    for finding in findings:
        corrupt += finding.is_corruption
        if len(shown) < MOST_FINDINGS:
            shown.append(finding)
            if not as_json:
                typer.echo(str(finding))
    status = "corrupt" if corrupt else "clean"
    if as_json:
        told = [{"kind": each.kind.value, "place": each.place, "text": each.text} for each in shown]
        figures = {"records": look.records, "segments": look.segments, "anchor": look.head.anchor}
        typer.echo(json.dumps({"status": status, "findings": corrupt, **figures, "shown": told}))
    else:
        typer.echo(f"{status}: {look.records} records in {look.segments} segments, {corrupt} findings")
        typer.echo(f"head {look.head.anchor}")
    return bool(corrupt)


@audit.command()
def show(
    event: Annotated[str, typer.Option("--event", help="Only this event, such as order or trading_state.")] = "",
    correlation: Annotated[
        str, typer.Option("--correlation", help="Only what belongs to this order, plan or session.")
    ] = "",
    since: Since = None,
    as_json: AsJson = False,  # noqa: FBT002 - typer makes a flag of it
    objects: ObjectsFolder = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """List the records, oldest first; with --json each as it is kept, one a line."""
    from trading_pipeline.adapters.storage.audit import StoredAuditLog

    log = StoredAuditLog(_objects(objects, settings_file, home))
    _print(log.records(since=_day(since), event=event, correlation_id=correlation), as_json=as_json)


def _print(records: "Iterable[AuditRecord]", *, as_json: bool) -> None:
    is_empty = True
    for record in records:
        is_empty = False
        typer.echo(record.line.decode().rstrip("\n") if as_json else _line(record))
    if is_empty:
        notices().print("there is no such record")


def _line(record: "AuditRecord") -> str:
    payload = json.dumps(record.payload, ensure_ascii=False)
    told = payload if len(payload) <= LONGEST_PAYLOAD else payload[: LONGEST_PAYLOAD - 3] + "..."
    return (
        f"{record.sequence} {record.at:%Y-%m-%d %H:%M:%S} {record.event} {record.correlation_id} {record.actor}: {told}"
    )


@audit.command()
def head(
    as_json: AsJson = False,  # noqa: FBT002 - typer makes a flag of it
    objects: ObjectsFolder = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Print the anchor: the last record's sequence and hash. Kept elsewhere, it shows one day what was cut off."""
    from trading_pipeline.adapters.storage.audit import StoredAuditLog

    found = StoredAuditLog(_objects(objects, settings_file, home)).head()
    typer.echo(found.line.decode().rstrip("\n") if as_json else found.anchor)


@audit.command()
def spool(settings_file: SettingsFile = None, home: HomeFolder = None) -> None:
    """List what could not be appended and waits; the next that appends to the log writes it first."""
    from trading_pipeline.defs.audit import spool_of

    waiting = spool_of(_home(settings_file, home)).waiting()
    for draft in waiting:
        typer.echo(f"{draft.at:%Y-%m-%d %H:%M:%S} {draft.event} {draft.correlation_id} {draft.actor}")
    notices().print(f"{len(waiting)} records wait" if waiting else "nothing waits")


def _day(text: str | None) -> date | None:
    return None if text is None else day(text, "--since")


def _home(settings_file: Path | None, home: Path | None) -> "Home":
    from trading_pipeline.adapters.storage.home import DEFAULT_HOME, HOME_VARIABLE, home_of
    from trading_pipeline.settings import load_settings

    settings = load_settings(settings_file, os.environ).settings
    return home_of(settings, home or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME))


def _objects(objects: Path | None, settings_file: Path | None, home: Path | None) -> "FileObjects":
    from trading_pipeline.adapters.storage.objects import FileObjects

    folder = objects or _home(settings_file, home).objects
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder: there is no log to read; name the home with --home")
    return FileObjects(folder)

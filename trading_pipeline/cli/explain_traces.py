"""``trading-pipeline explain fill|order|allocation``: from what happened back to the bars; the decision made again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from trading_pipeline.cli.console import answers, notices
from trading_pipeline.cli.options import HomeFolder, SettingsFile
from trading_pipeline.domain.orders import ORDER_ID_PREFIX

if TYPE_CHECKING:
    from trading_pipeline.application.explaining import Explainer
    from trading_pipeline.application.records import Chain, Records
    from trading_pipeline.application.replay import Replay
    from trading_pipeline.application.replaying import Replayer
    from trading_pipeline.application.tracing import Step
    from trading_pipeline.cli.explain_records import AuditIndex
    from trading_pipeline.cli.workshop import Choice
    from trading_pipeline.domain.strategies import Strategy

NEWEST = 10
IDS = frozenset({"execution_id", "client_order_id"})
SHOWN_OF_AN_ID = 8
COPIED = ("session", "symbol", "side")

AsJson = Annotated[bool, typer.Option("--json", help="Print structured data.")]
Html = Annotated[Path | None, typer.Option(help="Write the explanation as a web page into this file.")]
Again = Annotated[
    bool, typer.Option("--replay", help="Make the decision again from the recorded table versions and compare.")
]


@dataclass(frozen=True, eq=False)
class Archive:
    """What is recorded below a folder, opened when it is first asked for."""

    choice: "Choice"

    @cached_property
    def strategies(self) -> "Mapping[str, Strategy]":
        """The strategies of the settings."""
        from trading_pipeline.adapters.symphony_files import known_strategies

        return known_strategies(self.choice.settings.strategies.folder)

    @cached_property
    def records(self) -> "Records":
        """Tables, plans, journal and Dagster's record."""
        from trading_pipeline.adapters.storage.journal import SqliteJournal
        from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
        from trading_pipeline.adapters.storage.recorded_tables import RecordedTables
        from trading_pipeline.adapters.storage.tables import DeltaTables
        from trading_pipeline.application.records import Records
        from trading_pipeline.cli.explain_records import run_records
        from trading_pipeline.domain.smoothing import Smoothing

        home = self.choice.home
        return Records(
            RecordedTables(DeltaTables(str(home.tables))),
            StoredPlans(FileObjects(home.objects)),
            SqliteJournal(home.journal),
            self.strategies,
            Smoothing(self.choice.settings.strategies.rsi_smoothing),
            run_records(home),
            self.audit,
            _liquidated(FileObjects(home.objects).list("liquidations/")),
        )

    @cached_property
    def audit(self) -> "AuditIndex":
        """The audit log."""
        from trading_pipeline.adapters.storage.audit import StoredAuditLog
        from trading_pipeline.adapters.storage.objects import FileObjects
        from trading_pipeline.cli.explain_records import AuditIndex

        return AuditIndex(StoredAuditLog(FileObjects(self.choice.home.objects)))

    @cached_property
    def explainer(self) -> "Explainer":
        """Whoever answers."""
        from trading_pipeline.application.explaining import Explainer

        settings = self.choice.settings
        options = settings.sizing.options(settings.strategies.safe_asset)
        return Explainer(self.records, options, settings.orders.whole_shares)

    @cached_property
    def replayer(self) -> "Replayer":
        """Whoever makes decisions again."""
        from trading_pipeline import __version__
        from trading_pipeline.adapters.storage.written_rows import written_beside
        from trading_pipeline.application.replaying import Replayer

        return Replayer(self.records, self.choice.settings, __version__, written_beside(str(self.choice.home.tables)))

    @property
    def market(self) -> str:
        """What prices these are: a generated market is synthetic, and said to be."""
        from trading_pipeline.settings import Mode

        settings = self.choice.settings
        if settings.mode is not Mode.SIMULATED:
            return f"Alpaca, {settings.mode} account"
        return "a generated (synthetic) market" if settings.simulator.bars is None else f"{settings.simulator.bars}"


def _liquidated(keys: Sequence[str]) -> Sequence[tuple[str, date]]:
    """Return account and session of each key of a liquidation's plan."""
    named = {tuple(key.split("/")[1:3]) for key in keys}
    return sorted((account, date.fromisoformat(session)) for account, session in named)


def fill(
    execution_id: Annotated[
        str, typer.Argument(help="The execution's id or its beginning; none lists the newest.")
    ] = "",
    as_json: AsJson = False,  # noqa: FBT002 - typer makes a flag of it
    html: Html = None,
    replay: Again = False,  # noqa: FBT002 - typer makes a flag of it
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Show why an execution came about: its order, risk decision, plan, allocation, signals, readings and bars."""
    archive = _archive(settings_file, home)
    if not execution_id:
        _list(archive, "fills", ["execution_id", "filled_at", "side", "symbol", "quantity", "price"])
        return
    step, plan = archive.explainer.fill(execution_id)
    _answer(archive, step, archive.records.chain_of(plan), Shape(as_json, html, replay))


def order(
    client_order_id: Annotated[
        str, typer.Argument(help="The order's id or its beginning; none lists the newest.")
    ] = "",
    as_json: AsJson = False,  # noqa: FBT002 - typer makes a flag of it
    html: Html = None,
    replay: Again = False,  # noqa: FBT002 - typer makes a flag of it
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Show why an order was placed, or denied, and what became of it."""
    archive = _archive(settings_file, home)
    if not client_order_id:
        _list(archive, "approved_orders", ["client_order_id", "session", "side", "symbol", "quantity", "decision"])
        return
    step, plan = archive.explainer.order(client_order_id)
    _answer(archive, step, archive.records.chain_of(plan), Shape(as_json, html, replay))


def allocation(
    session: Annotated[
        str, typer.Argument(help="The session that was decided, YYYY-MM-DD; none lists the newest.")
    ] = "",
    symbol: Annotated[str, typer.Argument(help="One symbol's weight alone.")] = "",
    as_json: AsJson = False,  # noqa: FBT002 - typer makes a flag of it
    html: Html = None,
    replay: Again = False,  # noqa: FBT002 - typer makes a flag of it
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Show where the weights of a session come from: what each strategy contributed, and why."""
    from trading_pipeline.cli.explain import session_of

    archive = _archive(settings_file, home)
    if not session:
        _list(archive, "allocation", ["session", "strategy", "symbol", "weight", "status"])
        return
    decided_on = session_of(session)
    step, chain = archive.explainer.allocation(decided_on, symbol.upper())
    _answer(archive, step, chain, Shape(as_json, html, replay))


@dataclass(frozen=True)
class Shape:
    """How the answer is wanted."""

    as_json: bool
    html: Path | None
    replay: bool


def _archive(settings_file: Path | None, home: Path | None) -> Archive:
    from trading_pipeline.cli.workshop import chosen

    return Archive(chosen(settings_file, home, None))


def _answer(archive: Archive, step: "Step", chain: "Chain", shape: Shape) -> None:
    again = archive.replayer.replay(chain) if shape.replay and (chain.plan is None or chain.plan.lineage) else None
    if shape.html is not None:
        from trading_pipeline.cli.explain import write
        from trading_pipeline.reporting.explanation_page import explanation_page

        write(shape.html, explanation_page(step, archive.market, again))
    if shape.as_json:
        typer.echo(json.dumps(_data(archive, step, again), indent=2))
    else:
        _print(archive, step, again, shape)
    if archive.audit.trouble:
        notices().print(f"[bold red]warning[/]: {escape(archive.audit.trouble)}", soft_wrap=True)
    if again is not None and not again.is_equal:
        raise typer.Exit(1)


def _data(archive: Archive, step: "Step", again: "Replay | None") -> dict[str, Any]:
    data = {"market": archive.market, "explanation": step.to_data()}
    return data if again is None else {**data, "replay": again.to_data()}


def _print(archive: Archive, step: "Step", again: "Replay | None", shape: Shape) -> None:
    from trading_pipeline.cli.explain_tree import replay_of, tree_of

    console = answers()
    console.print(f"[dim]prices: {archive.market}[/]", soft_wrap=True)
    console.print(tree_of(step))
    if again is not None:
        console.print(replay_of(again))
    elif shape.replay:
        console.print("nothing to replay: the plan gets out of positions and rests on no allocation")


def _list(archive: Archive, table: str, columns: list[str]) -> None:
    from rich import box
    from rich.table import Table

    by = "filled_at" if table == "fills" else "session"
    rows = archive.records.tables.read(table).sort_values(by, ascending=False, kind="stable").head(NEWEST)
    shown = Table(box=box.SIMPLE_HEAD, title=f"the newest {len(rows)} of {table}: name one to explain it")
    for column in columns:
        # Whoever names what is listed copies these; the others may go over several lines.
        shown.add_column(column, no_wrap=column in {columns[0], *COPIED}, overflow="fold")
    for row in rows[columns].to_dict("records"):
        shown.add_row(*(_short(row[column]) if column in IDS else _cell(row[column]) for column in columns))
    answers().print(shown)


def _short(name: str) -> str:
    """Return as much of an id as names it.

    >>> _short("20260731093100000::201fdb07-cc08-5b51-ad12-b842dbb8aa8e"), _short("tp1-59bf7a544d8a83950508261963db")
    ('201fdb07', 'tp1-59bf7a54')
    """
    own = name.rpartition("::")[2]
    prefix = ORDER_ID_PREFIX if own.startswith(ORDER_ID_PREFIX) else ""
    return own[: len(prefix) + SHOWN_OF_AN_ID]


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)

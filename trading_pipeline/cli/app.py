"""The commands."""

import typer

from trading_pipeline.cli.alerts import alerts
from trading_pipeline.cli.audit import audit
from trading_pipeline.cli.dashboard import dashboard
from trading_pipeline.cli.dev import dev
from trading_pipeline.cli.drill import drill
from trading_pipeline.cli.explain import explain
from trading_pipeline.cli.fingerprint import fingerprint
from trading_pipeline.cli.health import health
from trading_pipeline.cli.kill import kill
from trading_pipeline.cli.liquidate import liquidate
from trading_pipeline.cli.report import report
from trading_pipeline.cli.run import run
from trading_pipeline.cli.secrets import secrets
from trading_pipeline.cli.settings import settings
from trading_pipeline.cli.signals import signals

app = typer.Typer(
    name="trading-pipeline",
    help="Daily bars to fills for rule-based ETF strategies, as one Dagster lineage graph.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (run, dev, signals, fingerprint, settings, liquidate, health, report, dashboard):
    app.command()(command)
app.add_typer(explain, name="explain")
app.add_typer(kill, name="kill")
app.add_typer(alerts, name="alerts")
app.add_typer(audit, name="audit")
app.add_typer(drill, name="drill")
app.add_typer(secrets, name="secrets")

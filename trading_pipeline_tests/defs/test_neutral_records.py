"""What Dagster keeps of a small run: the log lines of ours, and in neutral mode nothing that may not be said."""

import logging
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import structlog

from trading_pipeline.adapters import neutral_mode
from trading_pipeline.adapters.logs import bound, configure_logging
from trading_pipeline.adapters.neutral_mode import KEY_VARIABLE, lasting_name, put_in_force, redactor_in_force
from trading_pipeline.adapters.neutral_streams import NeutralStream, redact_streams
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.defs import metadata
from trading_pipeline.defs.neutral_errors import NeutralEdge, RedactedError, neutral_errors
from trading_pipeline.defs.neutral_records import NeutralScheduleStorage
from trading_pipeline.defs.run_log import told_once
from trading_pipeline.domain.errors import DataError, RateLimited
from trading_pipeline.settings import LogFormat, LogLevel, Settings

FIGURE, SYMBOL = "4729.3517", "TQQQ"
LEAK = f"bought 731 {SYMBOL} at {FIGURE}"
CANARY = re.compile(rf"{re.escape(FIGURE)}|\b{SYMBOL}\b|\b731\b")
log = structlog.get_logger("trading_pipeline.test")


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    root, ours, kept = logging.getLogger(), logging.getLogger("trading_pipeline"), structlog.get_config()
    handlers, levels, streams = root.handlers, (root.level, ours.level), (sys.stdout, sys.stderr)
    monkeypatch.setitem(os.environ, KEY_VARIABLE, "a key")
    yield
    redact_streams(None)
    sys.stdout, sys.stderr = streams
    neutral_mode._in_force.clear()
    neutral_mode._known.clear()
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    structlog.configure(**kept)


@pytest.fixture
def neutral():
    return put_in_force(Settings(observability={"neutral": True}))


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """Where everything may be said."""
    with dg.DagsterInstance.from_config(str(Home(tmp_path_factory.mktemp("open")).prepared().dagster)) as opened:
        yield opened


@pytest.fixture(scope="module")
def neutral_instance(tmp_path_factory):
    """Where no canary may ever lie."""
    with dg.DagsterInstance.from_config(str(Home(tmp_path_factory.mktemp("hushed")).prepared().dagster)) as opened:
        yield opened


@dg.resource
def listening(context):
    told_once(context.log)


@dg.asset(required_resource_keys={"world"})
def speaks():
    with bound(correlation_id="tp1-7"):
        log.info("order_filled", symbol=SYMBOL, detail=LEAK, rows=3)
        log.debug("not for the run log")
        log.warning("order_late")


@dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="tells")])
def tells():
    frame = pd.DataFrame({"symbol": [SYMBOL], "quantity": [FIGURE], "orders": [3]})
    return dg.MaterializeResult(
        metadata={
            "price": 4729.3517,
            "rows": 3,
            "said": LEAK,
            "positions": metadata.table(frame),
            "read": {"symbol": SYMBOL, "limit_price": 4729.3517, "rows": 3},
            "page": dg.MetadataValue.md(LEAK),
            "plan": "2026-07-31.1",
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="sound", passed=False, description=LEAK, metadata={"equity": 4729.3517, "failing_rows": 3}
            )
        ],
    )


@dg.asset
def fails():
    held = LEAK
    raise DataError(held)


def materialise(asset, instance, **resources):
    world = dg.ResourceDefinition.none_resource()
    return dg.materialize([asset], instance=instance, resources={"world": world, **resources}, raise_on_error=False)


def records_of(instance):
    return "".join(path.read_bytes().decode("latin-1") for path in Path(instance.root_directory).rglob("*.db*"))


def facts_of(line):
    return re.findall(r'\w+=(?:"[^"]*"|\S+)', line)


def lines_of(instance, run):
    return [(entry.level, entry.step_key, entry.user_message) for entry in instance.all_logs(run.run_id)]


def test_the_run_log_shows_our_lines_with_level_step_and_correlation_id(instance, capsys):
    configure_logging(LogFormat.JSON, LogLevel.INFO)

    run = materialise(speaks, instance, world=listening)

    ours = [line for line in lines_of(instance, run) if "order_" in line[2]]
    assert [(level, step) for level, step, _ in ours] == [(logging.INFO, "speaks"), (logging.WARNING, "speaks")]
    assert ours[0][2].startswith("order_filled ")
    assert {f"symbol={SYMBOL}", f'detail="{LEAK}"', "rows=3", "correlation_id=tp1-7"} <= set(facts_of(ours[0][2]))
    assert ours[1][2] == "order_late correlation_id=tp1-7"
    # The computation's log is standard error: each line once, as the object that machines read.
    told = [line for line in capsys.readouterr().err.splitlines() if "order_filled" in line]
    assert len(told) == 1
    assert told[0].startswith("{")
    assert '"correlation_id": "tp1-7"' in told[0]


def test_a_terminal_that_shows_warnings_only_leaves_the_run_log_whole(instance, capsys):
    configure_logging(LogFormat.CONSOLE, LogLevel.WARNING)

    run = materialise(speaks, instance, world=listening)

    assert len([line for line in lines_of(instance, run) if "order_" in line[2]]) == 2
    assert "order_filled" not in capsys.readouterr().err


def test_the_run_log_of_neutral_mode_shows_pseudonyms(neutral_instance, neutral):
    configure_logging(LogFormat.JSON, LogLevel.INFO, redactor=neutral)

    run = materialise(speaks, neutral_instance)

    [line] = [text for _, _, text in lines_of(neutral_instance, run) if "order_filled" in text]
    assert f"symbol={neutral.symbol(SYMBOL)}" in line
    assert "correlation_id=tp1-7" in line
    assert "rows=3" in line
    assert not CANARY.search(line)


def test_records_of_metadata_and_checks_are_redacted_and_still_metadata(neutral_instance, neutral):
    materialise(tells, neutral_instance)

    told = neutral_instance.get_latest_materialization_event(dg.AssetKey("tells")).asset_materialization.metadata
    assert told["price"].value == "***"
    assert told["rows"].value == 3
    assert told["plan"].value == "2026-07-31.1"
    assert told["read"].value == {"symbol": neutral.symbol(SYMBOL), "limit_price": "***", "rows": 3}
    assert told["positions"].records[0].data == {
        "symbol": neutral.symbol(SYMBOL),
        "quantity": "***",
        "orders": "3",
    }
    assert not CANARY.search(records_of(neutral_instance))


def test_without_neutral_mode_records_are_as_they_were_said(instance):
    put_in_force(Settings())
    materialise(tells, instance)

    told = instance.get_latest_materialization_event(dg.AssetKey("tells")).asset_materialization.metadata
    assert told["price"].value == 4729.3517
    assert LEAK in records_of(instance)


def test_no_error_that_dagster_records_says_what_may_not_be_said(neutral_instance, neutral, capsys):
    redact_streams(neutral)

    run = materialise(fails, neutral_instance)

    [failure] = [event for event in run.all_events if event.is_step_failure]
    assert "DataError" in failure.step_failure_data.error.cause.message
    assert "DataError" in records_of(neutral_instance)
    assert neutral.symbol(SYMBOL) in records_of(neutral_instance)
    assert not CANARY.search(records_of(neutral_instance))
    # Dagster prints the failure as well: with the places in the code, and no figure.
    told = capsys.readouterr().err
    assert "test_neutral_records.py" in told
    assert not CANARY.search(told)


def test_ticks_of_sensors_are_redacted(neutral_instance, neutral):
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import TickData, TickStatus

    storage = neutral_instance.schedule_storage
    begun = TickData("origin", "look", InstigatorType.SENSOR, TickStatus.STARTED, 1.0, selector_id="selector")
    tick = storage.create_tick(begun)
    storage.update_tick(tick.with_status(TickStatus.SKIPPED, skip_reason=LEAK))

    [kept] = storage.get_ticks("origin", "selector")
    assert isinstance(storage, NeutralScheduleStorage)
    assert kept.skip_reason == f"bought *** {neutral.symbol(SYMBOL)} at ***"
    assert not CANARY.search(records_of(neutral_instance))


def test_an_error_of_ours_keeps_its_class_and_facts_at_the_edge(neutral):
    error = RateLimited(LEAK, retry_at=datetime(2026, 8, 3, tzinfo=UTC))
    facts = dict(error.__dict__)

    @neutral_errors
    def compute():
        raise error

    with pytest.raises(type(error)) as caught:
        compute()

    assert not CANARY.search(str(caught.value))
    assert caught.value.__dict__ == facts
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_error_that_nobody_foresaw_is_named_and_not_quoted(neutral):
    with pytest.raises(RedactedError, match=r"^KeyError: ") as caught, NeutralEdge():
        raise KeyError(LEAK)

    assert not CANARY.search(str(caught.value))


def test_out_of_neutral_mode_the_very_error_comes_through():
    put_in_force(Settings())
    error = KeyError(LEAK)

    with pytest.raises(KeyError) as caught, NeutralEdge():
        raise error

    assert caught.value is error


def test_metadata_is_shown_as_it_is_or_redacted(neutral):
    said = {"price": 1.5, "weights": metadata.table(pd.DataFrame({"symbol": [SYMBOL], "weight": [0.5]})), "rows": 7}
    assert metadata.shown(said)["price"] == "***"
    assert metadata.shown(said)["rows"] == 7
    assert metadata.shown(said)["weights"].records[0].data == {"symbol": neutral.symbol(SYMBOL), "weight": "0.5"}

    put_in_force(Settings())
    assert metadata.shown(said) == said


def test_streams_pass_whole_lines_and_what_is_flushed(neutral, capsys):
    redact_streams(neutral)

    sys.stdout.write("cash=47")
    sys.stdout.write("29.35\nand equity=12")
    sys.stdout.flush()
    sys.stdout.write("\n")

    assert isinstance(sys.stdout, NeutralStream)
    assert capsys.readouterr().out == "cash=***\nand equity=***\n"


def test_a_traceback_of_our_log_shows_no_local_variable(neutral, capsys):
    configure_logging(LogFormat.CONSOLE, LogLevel.INFO)

    def work():
        local_secret = "hunter" + "2" * 10
        raise DataError(f"failed with {len(local_secret)}")

    try:
        work()
    except DataError:
        log.exception("it_failed")

    told = capsys.readouterr().err
    assert "it_failed" in told
    assert "DataError" in told
    assert "2222222222" not in told


def test_settings_that_cannot_be_read_are_told_neutrally_where_they_ask_for_it(monkeypatch, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("observability:\n  neutral: true\nsurprise: 1\n")
    monkeypatch.setenv("TRADING_PIPELINE_SETTINGS", str(file))
    assert redactor_in_force() is not None

    file.write_text("surprise: 1\n")
    assert redactor_in_force() is None


def test_names_that_are_looked_up_again_are_the_same_in_every_run_and_say_nothing(monkeypatch):
    neutral = Settings(observability={"neutral": True}, broker={"key_id": "PKID", "secret_key": "a secret"})

    names = set()
    for key in ("one", "two"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        names.add(lasting_name(neutral, "SIM12345"))

    assert len(names) == 1
    assert "SIM12345" not in names
    assert lasting_name(Settings(), "SIM12345") == "SIM12345"

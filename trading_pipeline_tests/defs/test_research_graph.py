"""The research graph over a simulated market: in this process, and once for real over several."""

import base64
import copy
import json
import os
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from dbt_like_checks.contract import contract
from trading_pipeline.adapters.storage.home import HOME_VARIABLE
from trading_pipeline.application.decision import sessions_needed
from trading_pipeline.application.signal_history import signal_history
from trading_pipeline.defs.assets import research
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.defs.partitions import days_of, year_partitions
from trading_pipeline.defs.research import ParquetExchange, executor_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.settings import PREFIX, ResearchSettings
from trading_pipeline_tests.defs.research_location import research_graph
from trading_pipeline_tests.processes import DEADLINE, Started

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ROOT = Path(__file__).parents[2]
# The first session of the generated market, and the last one that is over by its clock.
BEGINS, NEWEST = date(2015, 1, 2), date(2026, 7, 20)
SINCE = date(2024, 1, 2)


@dataclass
class Research:
    """The research graph over a world, run in this process on an instance in memory."""

    world: object
    instance: dg.DagsterInstance

    @property
    def definitions(self):
        return research_graph(
            self.world.settings,
            world=dg.ResourceDefinition.hardcoded_resource(self.world),
            tables=DeltaIOManager(self.world.tables),
        )

    def chosen(self, **settings):
        """The same graph over the same market and tables, with other settings."""
        world = copy.copy(self.world)
        world.settings = self.world.settings.model_copy(update={"research": ResearchSettings(**settings)})
        return Research(world, self.instance)

    def history(self, first, last):
        tags = {ASSET_PARTITION_RANGE_START_TAG: str(first), ASSET_PARTITION_RANGE_END_TAG: str(last)}
        job = self.definitions.resolve_job_def("research_history")
        return job.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False, run_config=QUIET)

    def year(self, year):
        job = self.definitions.resolve_job_def("research_history")
        return job.execute_in_process(
            instance=self.instance, partition_key=str(year), raise_on_error=False, run_config=QUIET
        )

    def diversity(self, **config):
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey("strategy_diversity")],
            raise_on_error=False,
            run_config=QUIET | {"ops": {"strategy_diversity": {"config": config}}},
        )

    def rows(self, table="signal_history", first=None, last=None):
        return self.world.tables.read(table, first, last)


def shown(result):
    """The metadata of a run's last materialisation; tables as lists of rows."""
    metadata = result.get_asset_materialization_events()[-1].materialization.metadata
    return {
        name: [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in metadata.items()
    }


def failures(result):
    """What stopped a run: the whole chain of errors by step."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure:
            error, words = event.step_failure_data.error, []
            while error is not None:
                words.append(error.message)
                error = error.cause
            found[event.step_key] = "\n".join(words)
    return found


@pytest.fixture(scope="module")
def graph(market):
    assert market.session == NEWEST
    with dg.DagsterInstance.ephemeral() as instance:
        yield Research(market.world(), instance)


@pytest.fixture(scope="module")
def computed(graph):
    """The history of three years, in one run."""
    result = graph.history(2024, 2026)
    assert result.success, failures(result)
    return result, graph.rows(first=SINCE)


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_strategy_has_the_rows_that_the_signals_command_gives_it_for_the_same_bars(graph, computed, name):
    _, rows = computed
    needed = sessions_needed(list(STRATEGIES.values()))
    since = sessions.sessions_between(sessions.FIRST_DATE, SINCE)[-needed]
    bars = graph.world.market_data.daily_bars(graph.world.symbols, since, NEWEST)

    expected = signal_history(STRATEGIES[name], bars, SINCE, NEWEST)

    found = rows[rows["strategy"] == name].drop(columns="strategy").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


def test_a_range_of_years_is_one_run_one_version_and_a_partition_each(graph, computed):
    result, rows = computed

    events = result.get_asset_materialization_events()
    assert [event.partition for event in events] == ["2024", "2025", "2026"]
    assert len({event.materialization.metadata["table_version"].value for event in events}) == 1
    assert shown(result)["dagster/row_count"] == len(rows)
    assert (rows["session"].min(), rows["session"].max()) == (SINCE, NEWEST)


def test_what_a_person_sees_of_a_range(computed):
    result, _ = computed

    found = shown(result)
    asked = len(sessions.sessions_between(SINCE, NEWEST))
    assert (found["first"], found["last"], found["market"]) == ("2024-01-02", "2026-07-20", "synthetic")
    assert (found["strategies"], found["shards"]) == (3, 1)
    assert [row["strategy"] for row in found["coverage"]] == sorted(STRATEGIES)
    assert {row["asked"] for row in found["coverage"]} == {str(asked)}
    tags = result.get_asset_materialization_events()[0].materialization.tags
    assert tags["dagster/data_version_is_user_provided"] == "true"
    assert tags["dagster/code_version"] == "1"


def test_every_promise_is_judged_once_for_the_whole_range(computed):
    result, rows = computed

    evaluations = result.get_asset_check_evaluations()
    promised = [promise.name for promise in contract("signal_history").promises]
    assert [found.check_name for found in evaluations] == promised
    assert all(found.passed for found in evaluations)
    assert {found.metadata["checked_rows"].value for found in evaluations} == {len(rows)}


def test_one_year_alone_takes_the_place_of_that_year_only(graph, computed):
    _, rows = computed

    result = graph.year(2025)

    assert result.success, failures(result)
    assert [event.partition for event in result.get_asset_materialization_events()] == ["2025"]
    assert {found.partition for found in result.get_asset_check_evaluations()} == {"2025"}
    pd.testing.assert_frame_equal(graph.rows(first=SINCE), rows, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_number_of_shards_changes_no_row(graph, computed, count):
    _, rows = computed
    version = graph.world.tables.version("signal_history")

    result = graph.chosen(shards=count).history(2024, 2026)

    assert result.success, failures(result)
    assert graph.world.tables.version("signal_history") == version + 1
    assert shown(result)["shards"] == min(count, 3)
    pd.testing.assert_frame_equal(graph.rows(first=SINCE), rows)


def test_sessions_before_the_bars_begin_have_no_row_and_are_counted(graph):
    result = graph.history(2014, 2015)

    assert result.success, failures(result)
    found = shown(result)
    before = len(sessions.sessions_between(date(2014, 1, 1), date(2014, 12, 31)))
    assert {row["strategy"]: int(row["without_bars"]) for row in found["coverage"]} == dict.fromkeys(STRATEGIES, before)
    assert found["sessions_without_bars"] == 3 * before
    assert found["undecided_sessions"] > 0
    assert graph.rows(last=date(2015, 12, 31))["session"].min() == BEGINS


def test_years_without_any_bar_are_refused(graph):
    result = graph.year(2012)

    assert list(failures(result)) == ["signal_history.history_bars"]
    assert "there are no bars of 65 symbols" in failures(result)["signal_history.history_bars"]


def test_a_year_of_which_no_session_is_over_is_refused():
    clock = SimpleNamespace(now=lambda: sessions.close_of(date(2026, 12, 31)))

    with pytest.raises(research.DataError, match="no session from 2027-01-01 to 2027-12-31 is over, the newest that"):
        research._asked(*days_of("2027"), SimpleNamespace(clock=clock))


def test_a_strategy_that_fails_fails_the_run_with_its_name_and_leaves_the_table_as_it_was(graph, computed, monkeypatch):
    def failing(node, panel, smoothing):
        if node is STRATEGIES["tecl"].tree:
            raise RecursionError("too deep")
        return evaluate(node, panel, smoothing)

    monkeypatch.setattr("trading_pipeline.application.sharded_history.evaluate", failing)
    version = graph.world.tables.version("signal_history")

    result = graph.chosen(shards=3).history(2025, 2026)

    [(step, words)] = failures(result).items()
    assert step.startswith("signal_history.shard_history[")
    assert "while evaluating strategy tecl" in words
    assert "too deep" in words
    assert graph.world.tables.version("signal_history") == version


def test_a_history_that_breaks_its_contract_is_not_written(graph, computed, monkeypatch):
    def doubled(*given):
        history = original(*given)
        return history.assign(weight=history["weight"] * 2)

    original = research.history_of
    monkeypatch.setattr(research, "history_of", doubled)
    version = graph.world.tables.version("signal_history")

    result = graph.year(2026)

    assert list(failures(result)) == ["signal_history.history_table"]
    assert "signal_history breaks 2 promises of its contract" in failures(result)["signal_history.history_table"]
    assert graph.world.tables.version("signal_history") == version


def test_bars_that_are_not_sound_are_kept_apart_with_the_reason(graph, monkeypatch):
    sound = graph.world.market_data.daily_bars(["SPY", "TLT"], date(2026, 7, 1), NEWEST)
    broken = sound.assign(close=sound["close"].mask((sound["symbol"] == "TLT") & (sound["session"] == NEWEST), -1.0))
    monkeypatch.setattr(graph.world.market_data, "daily_bars", lambda *_: broken)
    context = dg.build_op_context(resources={"world": graph.world})

    good = research.fetched_bars(context, ["SPY", "TLT"], date(2026, 7, 1), NEWEST)

    assert len(good) == len(sound) - 1
    [kept] = graph.rows("bars_quarantine").to_dict("records")
    assert (kept["symbol"], kept["session"], kept["reason"]) == ("TLT", NEWEST, "a price is not a positive number")


def test_a_strategy_that_another_machine_does_not_know_is_named(graph):
    with pytest.raises(InvalidInput, match=r"other is not known in this process; every machine must see the same"):
        research._named(graph.world, ["tecl", "other"])


def test_the_years_are_partitions_and_a_backfill_of_them_is_one_run():
    assert research.signal_history.backfill_policy == dg.BackfillPolicy.single_run()
    keys = year_partitions().get_partition_keys(current_time=sessions.close_of(NEWEST))
    assert keys == [str(year) for year in range(2010, 2027)]
    assert days_of("2010") == (date(2010, 1, 1), date(2010, 12, 31))
    assert days_of("2026-07-20") == (NEWEST, NEWEST)


@pytest.mark.parametrize("key", ["26", "20260720", "2026-07-19", "year"])
def test_what_names_neither_a_year_nor_a_session_is_refused(key):
    with pytest.raises(InvalidInput):
        days_of(key)


def test_the_settings_choose_the_executor_and_the_number_of_processes(graph):
    assert executor_of(ResearchSettings()) is dg.in_process_executor
    assert executor_of(ResearchSettings(executor="dagster:multiprocess_executor")) is dg.multiprocess_executor
    several = executor_of(ResearchSettings(executor="multiprocess", processes=7))
    assert several.name == "multiprocess"
    job = graph.chosen(executor="multiprocess").definitions.resolve_job_def("research_history")
    assert job.executor_def.name == "multiprocess"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("not_installed.at_all:executor", "not_installed.at_all cannot be imported: No module named"),
        ("dagster:no_such_executor", "which is None; it must be one of Dagster's executor definitions"),
        ("dagster:op", "which is <function op at"),
    ],
)
def test_an_executor_that_is_none_is_refused(place, message):
    with pytest.raises(InvalidInput, match=message):
        executor_of(ResearchSettings(executor=place))


@pytest.mark.parametrize("as_address", [False, True])
def test_frames_are_handed_on_as_they_were(tmp_path, as_address):
    exchange = ParquetExchange((tmp_path / "x").as_uri() if as_address else str(tmp_path / "x"))
    frame = pd.DataFrame(
        {
            "session": [NEWEST, BEGINS],
            "symbol": pd.Series(["SPY", None], dtype="str"),
            "weight": [0.1 + 0.2, np.nan],
            "count": [1, 2],
        }
    )
    wrote = dg.build_output_context(step_key="shard[0]", name="result", run_id="run", mapping_key="3")

    exchange.handle_output(wrote, frame)
    read = exchange.load_input(dg.build_input_context(upstream_output=wrote))

    pd.testing.assert_frame_equal(read, frame)
    assert (tmp_path / "x" / "run" / "shard[0]" / "result" / "3.parquet").is_file()


def test_an_input_that_no_step_put_out_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="input bars comes from no step"):
        ParquetExchange(str(tmp_path)).load_input(dg.build_input_context(name="bars"))


@pytest.fixture(scope="module")
def compared(graph, computed):
    result = graph.diversity(first="2024-07-01", last="2026-06-30")
    assert result.success, failures(result)
    return result, graph.rows("strategy_diversity")


def test_diversity_has_a_row_for_each_ordered_pair_and_keeps_its_promises(compared):
    result, rows = compared

    pairs = [(one, other) for one in sorted(STRATEGIES) for other in sorted(STRATEGIES)]
    assert list(zip(rows["strategy"], rows["other"], strict=True)) == pairs
    assert set(rows["first"]) == {date(2024, 7, 1)}
    assert set(rows["session"]) == {date(2026, 6, 30)}
    evaluations = result.get_asset_check_evaluations()
    assert [found.check_name for found in evaluations] == [p.name for p in contract("strategy_diversity").promises]
    assert [found.check_name for found in evaluations if not found.passed] == []


def test_diversity_is_what_the_history_and_the_closes_say(graph, computed, compared):
    _, history = computed
    _, rows = compared
    first, last = date(2024, 7, 1), date(2026, 6, 30)
    held = history[history["session"].between(first, last)].pivot_table(
        index="session", columns=["strategy", "symbol"], values="weight", fill_value=0.0
    )
    bars = graph.world.market_data.daily_bars(graph.world.symbols, first, last)
    moves = bars.pivot_table(index="session", columns="symbol", values="close").pct_change().shift(-1)
    one, other = held["klm"], held["tecl"]
    common = one.columns.union(other.columns)
    shared = np.minimum(one.reindex(columns=common, fill_value=0.0), other.reindex(columns=common, fill_value=0.0))
    returns = [(weights * moves[weights.columns]).sum(axis=1)[:-1] for weights in (one, other)]

    pair = rows.set_index(["strategy", "other"]).loc[("klm", "tecl")]

    assert pair["signal_sessions"] == len(held)
    assert pair["return_sessions"] == len(held) - 1
    assert pair["overlap"] == pytest.approx(shared.sum(axis=1).mean())
    assert pair["return_correlation"] == pytest.approx(np.corrcoef(returns)[0, 1])
    correlations = rows.pivot_table(index="strategy", columns="other", values="return_correlation").to_numpy()
    assert rows["effective_number"].to_numpy() == pytest.approx(9 / np.square(correlations).sum())


def test_diversity_is_drawn_for_people_to_see(compared):
    result, _ = compared

    found = shown(result)
    head, _, coded = found["diversity"].removesuffix(")").partition("base64,")
    assert head == "![diversity](data:image/svg+xml;"
    drawn = "".join(ET.fromstring(base64.b64decode(coded)).itertext())  # noqa: S314 - our own drawing
    assert f"Effective number of strategies: {found['effective_number']:.2f} of 3" in drawn
    assert "2024-07-01 to 2026-06-30" in drawn
    assert len(found["pairs"]) == 9
    assert [row["strategy"] for row in found["strategies"]] == sorted(STRATEGIES)
    assert found["tables_read"] == {"signal_history": found["tables_read"]["signal_history"]}


def test_diversity_of_all_of_the_history_needs_no_configuration(graph, computed, compared):
    result = graph.diversity()

    assert result.success, failures(result)
    assert shown(result)["last"] == "2026-07-20"
    assert sorted(set(graph.rows("strategy_diversity")["session"])) == [date(2026, 6, 30), NEWEST]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"first": "yesterday"}, "a range has dates such as 2026-07-31"),
        ({"first": "2031-01-01"}, "signal_history has no session from 2031-01-01 to 9999-12-31; it holds"),
    ],
)
def test_a_range_that_says_nothing_is_refused(graph, computed, config, message):
    assert message in failures(graph.diversity(**config))["strategy_diversity"]


def test_too_many_strategies_are_not_drawn():
    found = SimpleNamespace(names=tuple(map(str, range(31))))

    assert research._drawing(found).value == "31 strategies are too many to draw; at most 30 are"


def test_rows_that_were_broken_in_the_table_fail_the_check(graph, computed):
    _, rows = computed
    wrong = rows[rows["session"] == NEWEST].assign(weight=0.7)
    graph.world.tables.replace_session("signal_history", NEWEST, wrong)
    selection = dg.AssetSelection.checks_for_assets(dg.AssetKey("signal_history"))
    definitions = dg.Definitions.merge(graph.definitions, dg.Definitions(jobs=[dg.define_asset_job("c", selection)]))

    judged = definitions.resolve_job_def("c").execute_in_process(
        instance=graph.instance, tags={PARTITION_NAME_TAG: "2026"}, run_config=QUIET, raise_on_error=False
    )

    verdicts = {found.check_name: found for found in judged.get_asset_check_evaluations()}
    assert [name for name, found in verdicts.items() if not found.passed] == ["sums_to_one_weight"]
    broken = verdicts["sums_to_one_weight"]
    assert broken.severity is dg.AssetCheckSeverity.ERROR
    assert broken.metadata["failing_rows"].value == len(broken.metadata["failing"].records)


def test_over_processes_the_same_rows_come_from_several_of_them(fresh_market, tmp_path):
    """As a person runs it: Dagster's own command, the executor chosen by a variable of the environment."""
    home = fresh_market.home
    chosen = {HOME_VARIABLE: str(home.folder.parent), "DAGSTER_HOME": str(home.dagster)}
    chosen |= {f"{PREFIX}RESEARCH__EXECUTOR": "multiprocess", f"{PREFIX}RESEARCH__PROCESSES": "2"}
    location = "trading_pipeline_tests.defs.research_location"
    tags = json.dumps({ASSET_PARTITION_RANGE_START_TAG: "2026", ASSET_PARTITION_RANGE_END_TAG: "2026"})

    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", location, "-j", "research_history"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = Started(tmp_path, [*command, "--tags", tags], inherited | chosen, cwd=ROOT).finished(2 * DEADLINE)

    assert done.returncode == 0, done.stderr[-3000:]
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        [run] = instance.get_runs()
        records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT).records
    told = {record.event_log_entry.step_key: record.event_log_entry.dagster_event for record in records}
    outputs = [event.event_specific_data for step, event in told.items() if "shard_history[" in step]
    processes = {output.metadata["process"].value for output in outputs}
    dealt = sorted(name for output in outputs for name in output.metadata["strategies"].value.split(", "))
    assert len(outputs) == len(processes) == 2
    assert os.getpid() not in processes
    assert dealt == sorted(STRATEGIES)

    world = fresh_market.world()
    over_processes = world.tables.read("signal_history")
    with dg.DagsterInstance.ephemeral() as instance:
        assert Research(world, instance).history(2026, 2026).success
    pd.testing.assert_frame_equal(world.tables.read("signal_history"), over_processes)
    assert world.tables.version("signal_history") == 2

"""The asset tail_backtest over a simulated market, in this process."""

import base64
from datetime import date
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import dagster as dg
import pytest

from dbt_like_checks.contract import contract
from trading_pipeline.application.sharded_history import evaluations_of
from trading_pipeline.defs.assets import tail_backtest as asset
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.research.tail_backtest import QUICK_MODELS, ValueAtRiskModel, tail_backtest
from trading_pipeline_tests.defs.research_location import research_graph

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FIRST, LAST = date(2026, 5, 18), date(2026, 7, 20)


class Graph:
    """The research graph over a world; the history of 2026 is there."""

    def __init__(self, world, instance):
        self.world, self.instance = world, instance
        resource = dg.ResourceDefinition.hardcoded_resource(world)
        self.definitions = research_graph(world.settings, world=resource, tables=DeltaIOManager(world.tables))
        job = self.definitions.resolve_job_def("research_history")
        assert job.execute_in_process(instance=instance, partition_key="2026", run_config=QUIET).success

    def tested(self, **config):
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey("tail_backtest")],
            raise_on_error=False,
            run_config=QUIET | {"ops": {"tail_backtest": {"config": config}}},
        )

    def rows(self, session):
        return self.world.tables.read("tail_backtest", session, session)


def shown(result):
    [event] = result.get_asset_materialization_events()
    return event.materialization.metadata


def failure(result):
    [event] = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    return f"{error.message} {error.cause.message if error.cause else ''}"


@pytest.fixture(scope="module")
def graph(market):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Graph(market.world(), instance)


@pytest.fixture(scope="module")
def found(graph):
    result = graph.tested(first=str(FIRST), last=str(LAST))
    assert result.success, failure(result)
    return result


def test_it_has_a_row_for_each_strategy_and_model_and_keeps_its_promises(graph, found):
    rows = graph.rows(LAST)

    expected = sorted((name, model.value) for name in STRATEGIES for model in QUICK_MODELS)
    assert list(zip(rows["strategy"], rows["model"], strict=True)) == expected
    assert set(rows["session"]) == {LAST}
    assert set(rows["first"]) == {sessions.sessions_between(FIRST, LAST)[1]}
    verdicts = found.get_asset_check_evaluations()
    assert [verdict.check_name for verdict in verdicts] == [each.name for each in contract("tail_backtest").promises]
    assert [verdict.check_name for verdict in verdicts if not verdict.passed] == []


def test_it_is_what_the_history_and_all_closes_of_the_market_say(graph, found):
    """Bars from long before are given here: the asset fetches as many as the figures want."""
    history = graph.world.tables.read("signal_history", FIRST, LAST)
    held = sorted(set(history["symbol"].dropna()))
    days = sessions.sessions_between(date(2022, 1, 3), LAST)
    closes = close_panel(graph.world.market_data.daily_bars(held, days[0], LAST), held, days)

    expected = tail_backtest(evaluations_of(history), closes, FIRST).to_frame()

    rows = graph.rows(LAST).set_index(["strategy", "model"])
    expected = expected.set_index(["strategy", "model"]).loc[rows.index]
    for name in ("sessions", "missing", "exceptions", "zone", "recent_zone"):
        assert rows[name].tolist() == expected[name].tolist(), name
    for name in ("mean_value_at_risk", "kupiec", "independence_p", "conditional_coverage"):
        assert rows[name].to_numpy() == pytest.approx(expected[name].to_numpy(), nan_ok=True), name
    assert (rows["sessions"] > 0).all()


def test_it_is_drawn_for_people_to_see(found):
    metadata = shown(found)

    head, _, coded = metadata["tail_backtest"].value.removesuffix(")").partition("base64,")
    assert head == "![tail_backtest](data:image/svg+xml;"
    words = list(ET.fromstring(base64.b64decode(coded)).itertext())  # noqa: S314 - our own drawing
    assert set(STRATEGIES) <= set(words)
    assert words.count("filtered-historical") == 2 * len(STRATEGIES)
    assert (metadata["last"].value, metadata["market"].value) == (str(LAST), "synthetic")
    records = [record.data for record in metadata["models"].records]
    assert len(records) == len(STRATEGIES) * len(QUICK_MODELS)
    assert metadata["not_green"].value == sum(record["zone"] != "green" for record in records)
    assert metadata["missing"].value == sum(int(record["missing"]) for record in records)


def test_garch_is_tested_too_where_it_is_asked_for(graph):
    days = sessions.sessions_between(FIRST, LAST)[:3]

    result = graph.tested(first=str(days[0]), last=str(days[-1]), garch=True)

    assert result.success, failure(result)
    rows = graph.rows(days[-1])
    assert set(rows["model"]) == {model.value for model in ValueAtRiskModel}
    assert set(rows["sessions"] + rows["missing"]) == {2}


def test_a_single_session_is_refused(graph):
    said = failure(graph.tested(first=str(LAST), last=str(LAST)))

    assert "no strategy held anything over two sessions from 2026-07-20 to 2026-07-20; choose a longer range" in said


def test_too_many_strategies_are_not_drawn():
    found = SimpleNamespace(losses=dict.fromkeys(map(str, range(11))))

    assert asset._drawing(found).value == "11 strategies are too many to draw; at most 10 are"

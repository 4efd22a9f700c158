"""The asset risk_history over a simulated market, in this process."""

import base64
from datetime import date
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import dagster as dg
import pytest

from dbt_like_checks.contract import contract
from trading_pipeline.defs.assets import risk_history as asset
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.limits import FAMILIES
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline_tests.defs.research_location import research_graph

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FIRST, LAST = date(2026, 6, 22), date(2026, 7, 20)


class Graph:
    """The research graph over a world; the history of 2026 is there."""

    def __init__(self, world, instance):
        self.world, self.instance = world, instance
        resource = dg.ResourceDefinition.hardcoded_resource(world)
        self.definitions = research_graph(world.settings, world=resource, tables=DeltaIOManager(world.tables))
        job = self.definitions.resolve_job_def("research_history")
        assert job.execute_in_process(instance=instance, partition_key="2026", run_config=QUIET).success

    def judged(self, **config):
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey("risk_history")],
            raise_on_error=False,
            run_config=QUIET | {"ops": {"risk_history": {"config": config}}},
        )


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
    result = graph.judged(first=str(FIRST), last=str(LAST))
    assert result.success, failure(result)
    return result


def test_it_has_a_row_for_each_rule_of_each_family_and_strategy_and_keeps_its_promises(graph, found):
    rows = graph.world.tables.read("risk_history", LAST, LAST)

    assert set(rows["strategy"]) == {*STRATEGIES, "together"}
    orders = rows[rows["kind"] == "order"]
    assert len(orders) == (len(STRATEGIES) + 1) * len(FAMILIES) * len(BreachCode)
    assert set(rows["sessions"]) == {len(sessions.sessions_between(FIRST, LAST)) - 1}
    verdicts = found.get_asset_check_evaluations()
    assert [verdict.check_name for verdict in verdicts] == [each.name for each in contract("risk_history").promises]
    assert [verdict.check_name for verdict in verdicts if not verdict.passed] == []


def test_one_strategy_alone_is_judged_with_all_of_the_account(graph, found):
    rows = graph.world.tables.read("risk_history", LAST, LAST)

    share = rows[(rows["rule"] == "STRATEGY_SHARE") & (rows["family"] == "ordinary")].set_index("strategy")
    assert share["highest"].drop("together").tolist() == pytest.approx([1.0] * len(STRATEGIES))
    assert share["highest"]["together"] == pytest.approx(max(graph.world.settings.strategies.capital_shares.values()))
    alone = share.drop("together")
    assert (alone["sessions_acted"] > 0).equals(alone["sessions_with_orders"] > 0)


def test_it_is_drawn_for_people_to_see(found):
    [event] = found.get_asset_materialization_events()
    metadata = event.materialization.metadata

    head, _, coded = metadata["risk_history"].value.removesuffix(")").partition("base64,")
    assert head == "![risk_history](data:image/svg+xml;"
    words = set(ET.fromstring(base64.b64decode(coded)).itertext())  # noqa: S314 - our own drawing
    assert {*STRATEGIES, "together", "ordinary: STRATEGY_SHARE"} <= words
    assert (metadata["last"].value, metadata["market"].value) == (str(LAST), "synthetic")
    assert metadata["never_acted"].value > 0


def test_a_single_session_is_refused(graph):
    said = failure(graph.judged(first=str(LAST), last=str(LAST)))

    assert "no strategy with a share of capital was available over two sessions; choose a longer range" in said


def test_too_many_accounts_are_not_drawn():
    found = SimpleNamespace(accounts=range(11))

    assert asset._drawing(found).value == "11 accounts are too many to draw; at most 10 are"

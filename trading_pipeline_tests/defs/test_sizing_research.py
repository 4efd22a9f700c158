"""The comparison of ways of sizing, over the history of a simulated market."""

import base64
import copy
from datetime import date
from xml.etree import ElementTree as ET

import dagster as dg
import numpy as np
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from dbt_like_checks.contract import contract
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.defs.assets.sizing_comparison import account_rules
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.domain import sessions
from trading_pipeline.domain.sizing.options import SizingPart
from trading_pipeline.settings import SizingSettings
from trading_pipeline_tests.defs.research_location import research_graph

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FIRST, LAST = date(2025, 7, 1), date(2026, 6, 30)
METHODS = ["strategies", *[part.value for part in SizingPart], "together"]


class Sizing:
    """The research graph over a world, run in this process on an instance in memory."""

    def __init__(self, world, instance):
        self.world = world
        self.instance = instance

    @property
    def definitions(self):
        world = dg.ResourceDefinition.hardcoded_resource(self.world)
        return research_graph(self.world.settings, world=world, tables=DeltaIOManager(self.world.tables))

    def chosen(self, **settings):
        """The same market and tables, with other settings of sizing."""
        world = copy.copy(self.world)
        world.settings = self.world.settings.model_copy(update={"sizing": SizingSettings(**settings)})
        return Sizing(world, self.instance)

    def history(self, first, last):
        tags = {ASSET_PARTITION_RANGE_START_TAG: str(first), ASSET_PARTITION_RANGE_END_TAG: str(last)}
        job = self.definitions.resolve_job_def("research_history")
        return job.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False, run_config=QUIET)

    def compared(self, **config):
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey("sizing_comparison")],
            raise_on_error=False,
            run_config=QUIET | {"ops": {"sizing_comparison": {"config": config}}},
        )


def shown(result):
    """The metadata of a run's materialisation; tables as lists of rows."""
    [event] = result.get_asset_materialization_events()
    return {
        name: [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in event.materialization.metadata.items()
    }


def failure(result):
    """The words of the innermost error of a run."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    while error.cause is not None:
        error = error.cause
    return error.message


@pytest.fixture(scope="module")
def graph(market):
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Sizing(market.world(), instance)
        assert graph.history(2025, 2026).success
        yield graph


@pytest.fixture(scope="module")
def compared(graph):
    result = graph.compared(first=str(FIRST), last=str(LAST))
    assert result.success, failure(result)
    return result, graph.world.tables.read("sizing_comparison")


def test_every_session_has_a_whole_account_for_each_way_of_sizing_and_the_promises_are_kept(compared):
    result, rows = compared

    totals = rows.groupby(["session", "method"])["weight"].sum()
    assert len(totals) == len(sessions.sessions_between(FIRST, LAST)) * len(METHODS)
    assert totals.to_numpy() == pytest.approx(np.ones(len(totals)))
    evaluations = result.get_asset_check_evaluations()
    assert [found.check_name for found in evaluations] == [p.name for p in contract("sizing_comparison").promises]
    assert [found.check_name for found in evaluations if not found.passed] == []


def test_methods_their_figures_and_their_weights_are_shown_side_by_side(compared):
    result, rows = compared

    found = shown(result)
    assert [row["method"] for row in found["methods"]] == METHODS
    assert set(found["methods"][0]) == {
        *("method", "growth", "volatility", "largest_fall", "turnover_a_year", "invested", "missing", "fallbacks")
    }
    newest = rows[rows["session"] == LAST]
    for row in found["weights"]:
        assert set(row) == {"symbol", *METHODS}
        own = newest[(newest["symbol"] == row["symbol"]) & (newest["method"] == "weight_caps")]["weight"].sum()
        assert float(row["weight_caps"]) == pytest.approx(own, abs=1e-5)
    assert (found["first"], found["last"], found["on"]) == (str(FIRST), str(LAST), "none")
    assert found["tables_read"] == {"signal_history": found["tables_read"]["signal_history"]}


def test_the_comparison_is_drawn_for_people_to_see(compared):
    result, _ = compared

    head, _, coded = shown(result)["sizing"].removesuffix(")").partition("base64,")
    assert head == "![sizing](data:image/svg+xml;"
    drawn = list(ET.fromstring(base64.b64decode(coded)).itertext())  # noqa: S314 - our own drawing
    assert {method.replace("_", " ") for method in METHODS} < set(drawn)
    assert f"{len(sessions.sessions_between(FIRST, LAST))} sessions, {FIRST} to {LAST}" in drawn


def test_what_the_strategies_alone_are_worth_is_what_their_weights_earned(graph, compared):
    _, rows = compared
    own = rows[(rows["method"] == "strategies") & (rows["symbol"] != "CASH")]
    weights = own.pivot_table(index="session", columns="symbol", values="weight", fill_value=0.0)
    value = own.groupby("session")["value"].first()
    bars = graph.world.market_data.daily_bars(list(weights.columns), FIRST, LAST)
    moves = bars.pivot_table(index="session", columns="symbol", values="close").pct_change().shift(-1)

    earned = (weights * moves.loc[weights.index, weights.columns]).sum(axis=1)[:-1]

    assert (value.shift(-1) / value - 1).dropna().to_numpy() == pytest.approx(earned.to_numpy(), abs=1e-9)


def test_the_figures_of_the_settings_are_compared_and_what_is_on_is_said(graph, compared):
    _, before = compared
    result = graph.chosen(weight_caps=True, max_weight=0.2).compared(first=str(FIRST), last=str(LAST))

    assert shown(result)["on"] == "weight_caps"
    rows = graph.world.tables.read("sizing_comparison")
    capped = rows[(rows["method"] == "weight_caps") & (rows["symbol"] != "CASH")]
    assert capped["weight"].max() <= 0.25
    assert before[(before["method"] == "weight_caps") & (before["symbol"] != "CASH")]["weight"].max() > 0.3
    alone = [each[each["method"] == "strategies"]["weight"].to_numpy() for each in (before, rows)]
    np.testing.assert_array_equal(*alone)


def test_the_account_is_shared_as_the_settings_and_the_strategies_say(graph):
    rules = account_rules(graph.world)

    assert rules.shares == graph.world.settings.strategies.capital_shares
    assert rules.drift_thresholds == {"klm": 0.1}
    assert rules.band == 0.01


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"first": "yesterday"}, "a range has dates such as 2026-07-31"),
        ({"first": "2031-01-01"}, "signal_history has no session from 2031-01-01 to 9999-12-31; it holds"),
    ],
)
def test_a_range_that_says_nothing_is_refused(graph, config, message):
    assert message in failure(graph.compared(**config))


def test_a_range_in_which_nobody_could_decide_is_refused(graph, monkeypatch):
    unavailable = graph.world.tables.read("signal_history").assign(symbol=None)
    monkeypatch.setattr(DeltaTables, "read", lambda *_: unavailable)

    assert "no strategy with a share of capital was available in the range" in failure(graph.compared())

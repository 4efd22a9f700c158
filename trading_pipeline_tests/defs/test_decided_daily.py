import asyncio
from datetime import date, timedelta
from itertools import pairwise

import dagster as dg
import pytest
from dagster._core.definitions import freshness_evaluator
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.loader import LoadingContext

from trading_pipeline.definitions import wired
from trading_pipeline.defs.decided_daily import DECIDED_DAILY, GRACE, LONGEST_PAUSE, decided_daily
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.domain import sessions
from trading_pipeline.settings import Settings

SESSION = "2026-07-30"


@dg.asset(partitions_def=session_partitions())
def decision() -> None: ...


class Loading(LoadingContext):
    """As much of a request to the web server as the evaluation needs."""

    def __init__(self, instance):
        self._instance, self._loaders = instance, {}

    @property
    def instance(self):
        return self._instance

    @property
    def loaders(self):
        return self._loaders


def state_of(instance, assets, later, monkeypatch):
    """What Dagster's daemon makes of the first asset, so much later than now."""
    now = freshness_evaluator.get_current_timestamp()
    graph = dg.Definitions(assets=assets).resolve_asset_graph()
    with monkeypatch.context() as clock:
        clock.setattr(freshness_evaluator, "get_current_timestamp", lambda: now + later.total_seconds())
        evaluator = freshness_evaluator.FRESHNESS_EVALUATORS_BY_POLICY_TYPE[type(DECIDED_DAILY)]()
        return asyncio.run(evaluator.evaluate_freshness(Loading(instance), graph.get(decision.key)))


def test_a_partitioned_asset_passes_until_a_decision_is_missing_for_longer_than_any_holiday(monkeypatch):
    assets = decided_daily([decision])
    with dg.DagsterInstance.ephemeral() as instance:
        before = state_of(instance, assets, timedelta(0), monkeypatch)
        dg.materialize(assets, partition_key=SESSION, instance=instance)
        after = [
            state_of(instance, assets, later, monkeypatch)
            for later in (timedelta(0), LONGEST_PAUSE, LONGEST_PAUSE + GRACE + timedelta(minutes=1))
        ]

    assert before is FreshnessState.UNKNOWN
    assert after == [FreshnessState.PASS, FreshnessState.PASS, FreshnessState.FAIL]


@pytest.mark.parametrize("session", [date(2026, 12, 24), date(2026, 7, 2), date(2026, 4, 2), date(2026, 11, 25)])
def test_no_holiday_alarms(session):
    pause = sessions.close_of(sessions.next_session(session)) - sessions.close_of(session)

    assert timedelta(days=1) < pause <= LONGEST_PAUSE


def test_no_pause_that_the_exchange_plans_is_longer():
    closes = [sessions.close_of(day) for day in sessions.sessions_between(date(2013, 1, 1), sessions.LAST_DATE)]

    assert max(later - earlier for earlier, later in pairwise(closes)) == LONGEST_PAUSE


def test_what_a_decision_makes_is_expected_daily_and_nothing_else():
    graph = wired(Settings(), world=object(), tables=dg.mem_io_manager)
    expected = {
        spec.key.to_user_string() for spec in graph.resolve_all_asset_specs() if spec.freshness_policy == DECIDED_DAILY
    }

    job = graph.resolve_job_def("decide")
    assert expected == {key.to_user_string() for key in job.asset_layer.selected_asset_keys}

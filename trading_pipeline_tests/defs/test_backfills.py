import gc
import logging
import sys

import dagster as dg
import pytest
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration

from trading_pipeline.adapters.storage.home import HOME_VARIABLE
from trading_pipeline.defs.assets.orders import BACKFILL_TAG
from trading_pipeline.defs.checks import promised_assets
from trading_pipeline.domain import sessions
from trading_pipeline.domain.strategies import STRATEGIES

pytestmark = [
    # Dagster's own, about itself, when it describes a code location.
    pytest.mark.filterwarnings("ignore:.*will be removed in 2.0:DeprecationWarning"),
    # The daemon's event loop is running while a run inside it opens one of its own.
    pytest.mark.filterwarnings("ignore:.*shutdown_asyncgens:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*shutdown_asyncgens:pytest.PytestUnraisableExceptionWarning"),
]

# Runs are executed in this process as soon as the backfill daemon submits them.
IN_THIS_PROCESS = """\
telemetry: {{enabled: false}}
event_log_storage:
  module: trading_pipeline.defs.event_log
  class: PooledSqliteEventLogStorage
  config: {{base_dir: "{folder}"}}
run_launcher: {{module: dagster._core.launcher.sync_in_memory_run_launcher, class: SyncInMemoryRunLauncher}}
run_coordinator: {{module: dagster._core.run_coordinator, class: DefaultRunCoordinator}}
"""


@pytest.fixture
def daemon(fresh_market, tmp_path, monkeypatch):
    """The daemon's view of the project: its own code location over the fresh market's folder."""
    monkeypatch.setenv(HOME_VARIABLE, str(fresh_market.home.folder.parent))
    folder = tmp_path / "instance"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(IN_THIS_PROCESS.format(folder=folder / "events"), encoding="utf-8")
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name="trading_pipeline.definitions")
    location = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(target, location_name="trading_pipeline"))
    with (
        dg.DagsterInstance.from_config(str(folder)) as instance,
        create_test_daemon_workspace_context(location, instance) as context,
    ):
        yield context
    # What is left of that loop is warned of here, and not in a test that comes later.
    gc.collect()


def backfilled(daemon, assets, *partitions):
    """Ask for a backfill as the UI does, let the daemon work until it is over, and return its runs."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="abcdefgh",
        asset_graph=daemon.create_request_context().asset_graph,
        partition_names=[str(session) for session in partitions],
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        backfill_timestamp=sessions.close_of(partitions[-1]).timestamp(),
        tags={},
        dynamic_partitions_store=daemon.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    daemon.instance.add_backfill(backfill)
    for _ in range(30):
        errors = [error for error in execute_backfill_iteration(daemon, logging.getLogger("backfill")) if error]
        assert not errors, errors
        if daemon.instance.get_backfill("abcdefgh").status.value.startswith("COMPLETED"):
            break
    return daemon.instance.get_runs()


def test_a_backfill_of_everything_plans_hypothetically_and_never_trades(daemon, fresh_market):
    past = sessions.previous_session(fresh_market.session, 5)

    [run] = backfilled(daemon, list(promised_assets(STRATEGIES)), past)

    assert run.tags[BACKFILL_TAG] == "abcdefgh"
    assert run.status is dg.DagsterRunStatus.FAILURE, "fills were asked for too"
    assert daemon.instance.get_materialized_partitions(dg.AssetKey("approved_orders")) == {str(past)}
    assert daemon.instance.get_materialized_partitions(dg.AssetKey("fills")) == set()
    [failure] = daemon.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    assert failure.event_log_entry.step_key == "fills"

    world = fresh_market.world()
    [plan] = world.plans.hypothetical(past)
    assert plan.orders
    assert world.plans.versions(world.portfolio().account_number, past) == []
    assert fresh_market.orders == []

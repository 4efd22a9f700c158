"""The event log keeps what Dagster's own class would: the same files, read by either."""

import multiprocessing

import dagster as dg
import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import DagsterEvent
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import deserialize_value, serialize_value

from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.defs import event_log
from trading_pipeline.defs.event_log import PooledSqliteEventLogStorage
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.defs.planned_checks import short


def materialise(folder, asset, count):
    with DagsterInstance.from_config(str(folder)) as instance:
        for number in range(count):
            instance.report_runless_asset_event(AssetMaterialization(asset, partition=str(number)))


def partitions(instance, asset):
    return instance.get_materialized_partitions(AssetKey(asset))


@pytest.fixture
def folder(tmp_path):
    return Home(tmp_path).prepared().dagster


def test_the_folder_is_configured_with_it(folder):
    with DagsterInstance.from_config(str(folder)) as instance:
        assert isinstance(instance.event_log_storage, PooledSqliteEventLogStorage)


def test_dagsters_own_class_reads_what_it_wrote(folder):
    materialise(folder, "bars", 3)

    own = SqliteEventLogStorage(str(folder / "history" / "runs"))

    assert own.get_materialized_partitions(AssetKey("bars")) == {"0", "1", "2"}


def test_two_processes_that_write_at_once_lose_nothing(folder):
    materialise(folder, "warm", 1)
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=materialise, args=(folder, asset, 15)) for asset in ("bars", "fills")]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    with DagsterInstance.from_config(str(folder)) as instance:
        wanted = {str(number) for number in range(15)}
        assert (partitions(instance, "bars"), partitions(instance, "fills")) == (wanted, wanted)


def test_what_one_process_committed_the_other_sees(folder):
    with DagsterInstance.from_config(str(folder)) as reader:
        assert partitions(reader, "bars") == set()
        materialise(folder, "bars", 1)
        assert partitions(reader, "bars") == {"0"}


def test_only_the_newest_databases_stay_open(folder, monkeypatch):
    monkeypatch.setattr(event_log, "MOST_OPEN_DATABASES", 2)

    @dg.op
    def nothing():
        pass

    @dg.job
    def idle():
        nothing()

    with DagsterInstance.from_config(str(folder)) as instance:
        runs = [idle.execute_in_process(instance=instance).run_id for _ in range(4)]
        assert len(instance.event_log_storage._engines) <= 2
        assert [len(instance.all_logs(run)) > 0 for run in runs] == [True] * 4


def planned(key="2026-07-31"):
    subset = session_partitions().subset_with_partition_keys([key])
    plan = AssetCheckEvaluationPlanned(asset_key=AssetKey("bars"), check_name="types", partitions_subset=subset)
    told = DagsterEvent("ASSET_CHECK_EVALUATION_PLANNED", "decide", event_specific_data=plan)
    return EventLogEntry(None, 10, "", "a-run", 0.0, None, "decide", told)


def test_a_planned_check_names_its_partition_and_not_every_holiday():
    long, brief = planned(), short(planned())

    told = brief.dagster_event.event_specific_data
    assert (told.asset_key, told.check_name) == (AssetKey("bars"), "types")
    assert list(told.partitions_subset.get_partition_keys()) == ["2026-07-31"]
    assert len(serialize_value(brief)) * 10 < len(serialize_value(long))
    assert deserialize_value(serialize_value(brief)) == brief


def test_what_plans_no_check_stays_as_it_is():
    entry = planned()._replace(dagster_event=None)

    assert short(entry) is entry


def test_commits_wait_for_the_disk_at_checkpoints_only(folder):
    with DagsterInstance.from_config(str(folder)) as instance, instance.event_log_storage.index_connection() as index:
        assert index.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert index.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"

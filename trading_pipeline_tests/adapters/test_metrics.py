import gc
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from filelock import FileLock

from trading_pipeline.adapters.metrics import MetricsFile, NoMetrics, read_metrics, summary
from trading_pipeline.domain.errors import InvalidInput

NOW = datetime(2026, 8, 3, 14, 0, 0, 5, tzinfo=UTC)
A_LINE = 120

ENDING = """
import atexit, sys
from datetime import UTC, datetime
from pathlib import Path
from trading_pipeline.adapters.metrics import MetricsFile

metrics = MetricsFile(Path(sys.argv[1]), lambda: datetime(2026, 8, 3, tzinfo=UTC))

def at_the_end():
    with open(sys.argv[2], "w"):
        metrics.count("orders_total")

atexit.register(at_the_end)
metrics.count("orders_total")
"""


def now():
    return NOW


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def metrics(path):
    return MetricsFile(path, now)


def record(path, count, largest):
    metrics = MetricsFile(path, now, largest)
    for number in range(count):
        metrics.count("orders_total", state="filled", place=str(number))


def both(path):
    return [file for file in (path.with_name("metrics.jsonl.1"), path) if file.exists()]


def test_a_line_is_one_datum_that_anything_can_read(metrics, path):
    metrics.count("fallback_total", kind="resized")

    [line] = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "time": "2026-08-03T14:00:00.000005Z",
        "name": "fallback_total",
        "kind": "count",
        "value": 1,
        "labels": {"kind": "resized"},
    }
    [datum] = read_metrics(path)
    assert (datum.time, datum.series) == (NOW, 'fallback_total{kind="resized"}')


def test_a_file_adds_up_by_series(metrics, path):
    metrics.count("orders_total", 2, side="buy")
    metrics.count("orders_total", side="buy")
    metrics.count("orders_total", side="sell")
    metrics.observe("submit_to_ack_seconds", 0.25)
    metrics.observe("submit_to_ack_seconds", 0.5)
    metrics.gauge("rate_limit_remaining", 180)
    metrics.gauge("rate_limit_remaining", 170)

    found = summary(path)

    assert found.counters == {'orders_total{side="buy"}': 3, 'orders_total{side="sell"}': 1}
    assert found.observations == {"submit_to_ack_seconds": (0.25, 0.5)}
    assert found.levels == {"rate_limit_remaining": 170}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_figure_is_left_out(metrics, path, value):
    metrics.observe("slippage_bps", value)

    assert read_metrics(path) == []


def test_where_nothing_was_recorded_there_is_nothing_to_add_up(path):
    assert summary(path) == summary(path.with_name("another"))
    assert summary(path).counters == {}


def test_a_line_that_was_cut_off_is_passed_over(metrics, path):
    metrics.count("before")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"time": "2026-08-03T14:00\n[]\n{}\n{"time": 1, "name": 1, "kind": 1, "value": 1, "labels": {}}\n')
    metrics.count("after")

    assert [datum.name for datum in read_metrics(path)] == ["before", "after"]


def test_a_full_file_is_kept_as_the_one_before_and_a_new_one_begun(path):
    record(path, 40, 20 * A_LINE)

    assert len(both(path)) == 2
    assert all(file.stat().st_size <= 21 * A_LINE for file in both(path))
    places = [int(datum.labels["place"]) for datum in read_metrics(path)]
    assert places == sorted(places)
    assert places[-1] == 39


def test_many_threads_and_processes_lose_no_line(path):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=record, args=(path, 100, 10**9)) for _ in range(2)]
    threads = [threading.Thread(target=record, args=(path, 100, 10**9)) for _ in range(4)]
    for worker in (*processes, *threads):
        worker.start()
    for worker in (*processes, *threads):
        worker.join(120)

    assert len(path.read_text(encoding="utf-8").splitlines()) == len(read_metrics(path)) == 600


def test_threads_that_find_the_file_full_at_once_lose_at_most_what_is_too_old(path):
    threads = [threading.Thread(target=record, args=(path, 50, 250 * A_LINE)) for _ in range(8)]
    for worker in threads:
        worker.start()
    for worker in threads:
        worker.join(60)

    assert len(read_metrics(path)) == 400
    assert len(both(path)) == 2


def test_whoever_finds_that_another_renamed_the_file_leaves_the_new_one(metrics, path):
    metrics.count("orders_total")

    metrics._rotate()

    assert both(path) == [path]


def test_that_another_renamed_the_file_is_seen_within_a_second_and_no_line_is_lost_until_then(path):
    instants = iter(NOW + timedelta(milliseconds=passed) for passed in (0, 300, 600, 1100))
    mine, another = MetricsFile(path, lambda: next(instants)), MetricsFile(path, lambda: NOW + timedelta(seconds=0.4))

    mine.gauge("open_orders", 1)
    path.rename(f"{path}.1")
    mine.gauge("open_orders", 2)
    another.gauge("open_orders", 9)
    mine.gauge("open_orders", 3)
    mine.gauge("open_orders", 4)

    assert [datum.value for datum in read_metrics(path)] == [1, 2, 9, 3, 4]
    assert summary(path).levels == {"open_orders": 4}
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_a_clock_that_was_set_back_keeps_no_renamed_file_open(path):
    instants = iter([NOW, NOW - timedelta(hours=1)])
    metrics = MetricsFile(path, lambda: next(instants))

    metrics.count("orders_total")
    path.rename(f"{path}.1")
    metrics.count("orders_total")

    assert path.exists()


def test_the_level_that_was_written_last_counts_whatever_the_clock_was_set_to(path):
    instants = iter([NOW, NOW - timedelta(seconds=2)])
    metrics = MetricsFile(path, lambda: next(instants))

    metrics.gauge("breaker_open", 1)
    metrics.gauge("breaker_open", 0)

    assert summary(path).levels == {"breaker_open": 0}


def test_a_line_without_a_zone_of_its_time_is_none_of_ours(metrics, path):
    metrics.count("orders_total")
    path.write_text(path.read_text(encoding="utf-8").replace("05Z", "05") * 2, encoding="utf-8")
    metrics.count("orders_total")

    assert len(read_metrics(path)) == 1


def test_a_file_that_is_opened_while_the_process_ends_gets_no_line_of_the_metrics(path):
    command = [sys.executable, "-c", ENDING, str(path), str(path.with_name("another"))]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=60)

    assert path.with_name("another").read_text(encoding="utf-8") == ""
    assert len(read_metrics(path)) == 2


def descriptors_of(path):
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if os.readlink(link) == str(path)]


def test_one_descriptor_is_held_and_none_once_nobody_records_any_more(path):
    instants = iter(NOW + timedelta(seconds=passed) for passed in range(50))
    metrics = MetricsFile(path, lambda: next(instants))

    for _ in range(50):
        metrics.count("orders_total")
        assert len(descriptors_of(path)) == 1
    del metrics
    gc.collect()

    assert descriptors_of(path) == []


def test_while_another_renames_the_file_lines_go_on(path):
    with FileLock(f"{path}.lock"):
        record(path, 3, 1)

    assert len(read_metrics(path)) == 3
    assert both(path) == [path]


def test_a_disk_that_refuses_is_said_once_and_stops_nothing(tmp_path):
    metrics = MetricsFile(tmp_path / "no such folder" / "metrics.jsonl", now)

    with structlog.testing.capture_logs() as told:
        metrics.count("orders_total")
        metrics.observe("submit_to_ack_seconds", 0.5)

    assert [(event["event"], event["log_level"]) for event in told] == [("metrics_lost", "warning")]
    assert "No such file" in told[0]["error"]


def test_a_value_of_any_number_type_is_written(metrics, path):
    metrics.observe("slippage_bps", float(Decimal("1.5")))
    metrics.gauge("open_orders", 3)

    assert [datum.value for datum in read_metrics(path)] == [1.5, 3]


def test_a_file_that_cannot_be_read_is_named(path):
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidInput, match=r"metrics\.jsonl cannot be read"):
        read_metrics(path)


def test_no_metrics_are_no_trouble():
    nothing = NoMetrics()

    nothing.count("a")
    nothing.observe("b", 1.0)
    nothing.gauge("c", 1.0)

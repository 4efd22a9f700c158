import copy
import io
import json
import logging
import math
import subprocess
import sys
import threading
from datetime import datetime
from decimal import Decimal

import pytest
import structlog

from trading_pipeline.adapters.logs import MASK, bound, configure_logging
from trading_pipeline.settings import LogFormat, LogLevel

OURS = "trading_pipeline.application.venue"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def as_it_was():
    root, ours, kept = logging.getLogger(), logging.getLogger("trading_pipeline"), structlog.get_config()
    handlers, levels = root.handlers, (root.level, ours.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    structlog.configure(**kept)


@pytest.fixture
def stream():
    return io.StringIO()


def events(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def our_logger():
    return structlog.get_logger(OURS)


def test_a_machine_is_given_one_object_a_line(stream):
    configure_logging(stream=stream)

    our_logger().info("order_acknowledged", correlation_id="tp1-0", quantity=Decimal("2.5"))

    [event] = events(stream)
    assert datetime.fromisoformat(event.pop("timestamp")).utcoffset().total_seconds() == 0
    assert event == {
        "event": "order_acknowledged",
        "level": "info",
        "logger": OURS,
        "correlation_id": "tp1-0",
        "quantity": "2.5",
    }


def test_a_person_is_given_columns_with_colours():
    terminal = Terminal()
    configure_logging(level=LogLevel.INFO, stream=terminal)

    our_logger().info("order_acknowledged", symbol="SPY")

    line = terminal.getvalue()
    assert "order_acknowledged" in line
    assert "SPY" in line
    assert "\x1b[" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


@pytest.mark.parametrize(
    ("log_format", "kind", "is_json"),
    [(LogFormat.JSON, Terminal, True), (LogFormat.CONSOLE, io.StringIO, False)],
)
def test_the_format_can_be_chosen(log_format, kind, is_json):
    stream = kind()
    configure_logging(log_format, LogLevel.INFO, stream)

    our_logger().info("hello")

    assert stream.getvalue().startswith("{") == is_json


@pytest.mark.parametrize(("kind", "told"), [(io.StringIO, ["info", "warning"]), (Terminal, ["warning"])])
def test_by_itself_a_terminal_shows_warnings_only(kind, told):
    stream = kind()
    configure_logging(LogFormat.JSON, stream=stream)

    our_logger().debug("fine")
    our_logger().info("so so")
    our_logger().warning("look")

    assert [event["level"] for event in events(stream)] == told


@pytest.mark.parametrize("level", [level for level in LogLevel if level is not LogLevel.AUTO])
def test_the_level_can_be_chosen(stream, level):
    configure_logging(level=level, stream=stream)

    for name in ("debug", "info", "warning", "error"):
        getattr(our_logger(), name)("event")

    assert events(stream)[0]["level"] == level


def test_libraries_speak_through_it_from_warnings_on(stream):
    configure_logging(stream=stream)

    library = logging.getLogger("urllib3.connectionpool")
    library.info("Starting new HTTPS connection")
    library.warning("Connection pool is full, discarding %s", "a connection")

    [event] = events(stream)
    assert event["event"] == "Connection pool is full, discarding a connection"
    assert (event["level"], event["logger"]) == ("warning", "urllib3.connectionpool")


def test_configuring_again_does_not_say_things_twice(stream):
    configure_logging(stream=io.StringIO())
    configure_logging(stream=stream)
    configure_logging(stream=stream)

    our_logger().warning("once")

    assert len(events(stream)) == 1


def test_a_logger_that_was_taken_before_is_configured_too(stream):
    early = our_logger()
    configure_logging(stream=stream)

    early.info("hello")

    assert len(events(stream)) == 1


def test_a_logger_without_a_name_is_called_after_its_module(stream):
    configure_logging(level=LogLevel.WARNING, stream=stream)

    structlog.get_logger().warning("here")

    assert events(stream)[0]["logger"].endswith("test_logs")


def test_what_is_bound_is_on_every_event_of_the_block_and_on_none_after_it(stream):
    configure_logging(stream=stream)

    with bound(plan_id="2026-07-30.1", run_id="r1"):
        our_logger().info("inside", symbol="SPY")
        with bound(correlation_id="tp1-0"):
            our_logger().info("deeper")
            logging.getLogger("alpaca").warning("theirs too")
    our_logger().info("outside")

    inside, deeper, theirs, outside = events(stream)
    assert (inside["plan_id"], inside["run_id"], inside["symbol"]) == ("2026-07-30.1", "r1", "SPY")
    assert deeper["correlation_id"] == theirs["correlation_id"] == "tp1-0"
    assert deeper["plan_id"] == "2026-07-30.1"
    assert "correlation_id" not in inside
    assert "plan_id" not in outside


@pytest.mark.parametrize("name", ["key_id", "APCA_API_SECRET_KEY", "api_token", "password", "Authorization", "key"])
def test_values_of_names_that_speak_of_secrets_are_masked(stream, name):
    configure_logging(stream=stream)

    our_logger().info(
        "connected", **{name: "hunter2", "headers": {name: "hunter2", "Accept": "json"}}, all=[{name: "hunter2"}]
    )

    assert "hunter2" not in stream.getvalue()
    [event] = events(stream)
    assert event[name] == event["headers"][name] == MASK
    assert event["headers"]["Accept"] == "json"
    assert event["all"] == [{name: MASK}]


@pytest.mark.parametrize("name", ["partition_key", "run_key", "asset_key"])
def test_dagsters_keys_are_no_secrets(stream, name):
    configure_logging(stream=stream)

    our_logger().info("run", **{name: "2026-07-30"})

    assert events(stream)[0][name] == "2026-07-30"


@pytest.mark.parametrize("logger_of", [structlog.get_logger, logging.getLogger])
def test_an_exception_is_on_the_line_of_its_event_ours_and_theirs(stream, logger_of):
    configure_logging(stream=stream)

    try:
        math.sqrt(-1)
    except ValueError:
        logger_of("trading_pipeline.roots").exception("no_root")

    [event] = events(stream)
    assert "ValueError: " in event["exception"]
    assert event["event"] == "no_root"


def test_lines_go_to_what_standard_error_is_now(capsys, monkeypatch):
    configure_logging(LogFormat.JSON, LogLevel.INFO)
    later = io.StringIO()

    monkeypatch.setattr(sys, "stderr", later)
    our_logger().info("hello")

    assert len(events(later)) == 1
    assert capsys.readouterr() == ("", "")


def test_a_stream_that_is_gone_stops_no_work(stream, monkeypatch):
    configure_logging(stream=stream)
    stream.close()
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    our_logger().info("order_submitting")

    assert "closed file" in sys.stderr.getvalue()


def test_threads_never_mix_their_lines(stream):
    configure_logging(stream=stream)

    def speak(number):
        for _ in range(50):
            our_logger().info("event", number=number)

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(events(stream)) == 400


def test_nothing_happens_at_import_and_answers_keep_standard_output():
    script = (
        "import logging, structlog\n"
        "from trading_pipeline.adapters.logs import configure_logging\n"
        "assert not structlog.is_configured() and not logging.getLogger().handlers\n"
        "configure_logging()\n"
        "structlog.get_logger('trading_pipeline.x').info('hello')\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert json.loads(done.stderr)["event"] == "hello"


def test_what_the_standard_library_switches_off_is_not_said(stream):
    configure_logging(stream=stream)
    logging.disable(logging.WARNING)
    try:
        our_logger().info("order_acknowledged")
        our_logger().error("order_lost")
    finally:
        logging.disable(logging.NOTSET)

    assert [event["event"] for event in events(stream)] == ["order_lost"]


def test_a_logger_that_is_bound_may_be_copied(stream):
    configure_logging(stream=stream)

    copy.deepcopy(our_logger().bind(plan_id="2026-07-31.1")).info("order_acknowledged")

    assert events(stream)[0]["plan_id"] == "2026-07-31.1"


class Slow(io.StringIO):
    """A stream that takes its time for the first line."""

    def __init__(self):
        super().__init__()
        self.begun, self.may_end = threading.Event(), threading.Event()

    def write(self, text):
        if not self.begun.is_set():
            self.begun.set()
            self.may_end.wait(60)
        return super().write(text)


def test_a_line_is_made_while_another_is_written():
    class Told:
        def __str__(self):
            made.set()
            return "told"

    slow, made = Slow(), threading.Event()
    configure_logging(stream=slow)
    threads = [threading.Thread(target=our_logger().info, args=("first",))]
    threads[0].start()
    assert slow.begun.wait(60)
    threads.append(threading.Thread(target=lambda: our_logger().info("second", value=Told())))
    threads[1].start()
    assert made.wait(60)
    slow.may_end.set()
    for thread in threads:
        thread.join(60)

    assert [event["event"] for event in events(slow)] == ["first", "second"]


def test_a_line_that_the_stream_refuses_takes_no_other_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        configure_logging(LogFormat.CONSOLE, LogLevel.INFO, file)
        handler = next(each for each in logging.getLogger().handlers if each.name == "trading_pipeline")
        records = [logging.makeLogRecord({"msg": text}) for text in ("good one", "bad \ud800", "good two")]
        handler._write([(record, f"{record.msg}\n") for record in records])

    assert (tmp_path / "log").read_text(encoding="utf-8").splitlines() == ["good one", "good two"]
    assert "surrogates not allowed" in sys.stderr.getvalue()

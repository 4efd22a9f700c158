import hashlib
import os
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, TradingHalted
from trading_pipeline.domain.risk.trading_state import ACTIVE, Action, Latch, TradingMode, TradingState

ROOT = Path(__file__).resolve().parents[3]
STATE_FILE = "state/trading_state.json"
NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
BREAK = Latch("reconciliation", TradingMode.REDUCING, "a break", "reconciliation", NOON)
DRAWDOWN = Latch("drawdown", TradingMode.HALTED, "12 %", "drawdown", NOON, date(2026, 7, 31), is_risk=True)
READER = """
import sys
from pathlib import Path
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState

print(*StoredTradingState(FileObjects(Path(sys.argv[1]))).read().latches, sep="; ")
"""


class Objects(FileObjects):
    """Files that can be out of reach."""

    failure = None

    def get(self, key):
        if self.failure is not None:
            raise self.failure
        return super().get(key)


@pytest.fixture
def objects(tmp_path):
    return Objects(tmp_path)


@pytest.fixture
def stored(objects):
    return StoredTradingState(objects, lambda: NOON)


@pytest.fixture
def file(tmp_path):
    return tmp_path / STATE_FILE


def latched(stored, latch):
    return stored.change(lambda state: state.latched(latch))


def test_every_change_is_kept_with_its_number_and_time_and_the_newest_is_the_state(stored):
    first, second = latched(stored, BREAK), latched(stored, DRAWDOWN)
    third = stored.change(lambda state: state.cleared(["reconciliation"], "looked at", "Ann", NOON))

    history = stored.history()
    assert [entry.state for entry in history] == [first, second, third]
    assert [entry.state.epoch for entry in history] == [1, 2, 3]
    assert [entry.state.change.action for entry in history] == [Action.LATCHED, Action.LATCHED, Action.RESET]
    assert {entry.written_at for entry in history} == {NOON}
    assert stored.read() == third


def test_what_was_never_changed_has_no_history(stored, tmp_path):
    assert (stored.history(), stored.last_recorded(), stored.read()) == ([], ACTIVE, ACTIVE)
    assert list(tmp_path.iterdir()) == []


def test_latches_survive_a_restart_in_another_process(stored, tmp_path):
    latched(stored, BREAK)
    latched(stored, DRAWDOWN)

    command = [sys.executable, "-c", READER, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout == f"{BREAK}; {DRAWDOWN}\n"


@pytest.mark.parametrize("back", [1, 2])
def test_a_state_that_was_rolled_back_stops_trading(stored, file, back):
    contents = []
    for change in (BREAK, DRAWDOWN):
        latched(stored, change)
        contents.append(file.read_bytes())
    stored.change(lambda state: state.cleared(["drawdown"], "", "Ann", NOON + timedelta(days=1)))

    file.write_bytes(contents[-back])

    with pytest.raises(TradingHalted, match="it was rolled back"):
        stored.read()
    with pytest.raises(TradingHalted, match="it was rolled back"):
        stored.change(lambda _: ACTIVE)


def test_a_state_that_was_deleted_stops_trading(stored, file):
    latched(stored, BREAK)
    file.unlink()

    with pytest.raises(TradingHalted, match="it was rolled back"):
        stored.read()


def test_a_state_whose_entry_of_the_history_is_missing_still_to_come_counts(stored, tmp_path):
    latched(stored, BREAK)
    latched(stored, DRAWDOWN)
    # Whoever wrote it died between the two.
    (tmp_path / "state/history/00000002.json").unlink()

    assert stored.read().mode is TradingMode.HALTED
    stored.change(lambda state: state.cleared(["reconciliation"], "", "Ann", NOON))
    assert [entry.state.epoch for entry in stored.history()] == [1, 2, 3]


def test_mending_goes_on_from_what_was_recorded_last(stored, file):
    latched(stored, BREAK)
    latched(stored, DRAWDOWN)
    file.write_bytes(b"{")

    mended = stored.mend(lambda state: state.latched(Latch("a", TradingMode.REDUCING)))

    assert stored.read() == mended
    assert [latch.name for latch in mended.latches] == ["reconciliation", "drawdown", "a"]
    assert mended.epoch == 3


def test_mending_a_state_that_was_rolled_back_brings_back_what_was_latched_since(stored, file):
    latched(stored, BREAK)
    early = file.read_bytes()
    latched(stored, DRAWDOWN)
    file.write_bytes(early)

    assert stored.mend(lambda state: state) == stored.read() == ACTIVE.joined([BREAK, DRAWDOWN])


def test_an_entry_of_the_history_that_was_altered_is_named_and_mending_passes_it_over(stored, file, tmp_path):
    latched(stored, BREAK)
    latched(stored, DRAWDOWN)
    entry = tmp_path / "state/history/00000002.json"
    entry.write_bytes(entry.read_bytes().replace(b"12 %", b"1 %"))
    file.write_bytes(b"{")

    with pytest.raises(DataError, match=r"00000002\.json was changed after it was written"):
        stored.history()
    assert stored.last_recorded().latches == (BREAK,)


def test_a_disk_that_may_answer_later_is_told_from_content_that_cannot_be_used(stored, objects, file):
    latched(stored, BREAK)
    objects.failure = DependencyUnavailable("the disk fails")
    with pytest.raises(TradingHalted) as unreachable:
        stored.read()
    objects.failure = None
    file.write_bytes(b"{")
    with pytest.raises(TradingHalted) as damaged:
        stored.read()

    assert isinstance(unreachable.value.__cause__, DependencyUnavailable)
    assert not isinstance(damaged.value.__cause__, DependencyUnavailable)


def test_of_many_that_latch_and_reset_at_once_one_wins_each_time_and_no_latch_is_lost(tmp_path):
    changes = 50 if os.environ.get("FULL") else 10
    together = threading.Barrier(4)

    def latch(name):
        stored = StoredTradingState(FileObjects(tmp_path))
        together.wait()
        for number in range(changes):
            held = Latch(f"{name}{number}", TradingMode.REDUCING)
            stored.change(lambda state, held=held: state.latched(held))

    threads = [threading.Thread(target=latch, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stored = StoredTradingState(FileObjects(tmp_path))
    assert {latch.name for latch in stored.read().latches} == {f"{a}{n}" for a in "abcd" for n in range(changes)}
    assert [entry.state.epoch for entry in stored.history()] == list(range(1, 4 * changes + 1))


def test_a_state_of_the_second_version_is_read_and_its_history_begins_with_the_next_change(stored, file):
    file.parent.mkdir(parents=True)
    body = b'{"mode":"halted","reason":"drill","set_by":"Ann","set_at":null}'
    seal = hashlib.sha256(body).hexdigest().encode()
    file.write_bytes(b'{"schema_version":2,"sha256":"%b","state":%b}\n' % (seal, body))

    assert stored.read() == TradingState(TradingMode.HALTED, "drill", "Ann")
    assert latched(stored, BREAK).epoch == 1
    assert [latch.name for latch in stored.read().latches] == ["Ann", "reconciliation"]

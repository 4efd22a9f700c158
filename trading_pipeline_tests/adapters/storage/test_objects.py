import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, InvalidInput, TradingHalted
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState

SESSION = date(2026, 7, 30)
STATE_FILE = "state/trading_state.json"
PLAN_FILE = "plans/SIM0001/2026-07-30/0001.json"


@pytest.fixture
def objects(tmp_path):
    return FileObjects(tmp_path)


@pytest.fixture
def plans(objects):
    return StoredPlans(objects)


@pytest.fixture
def trading_state(objects):
    return StoredTradingState(objects)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_was_put_is_what_is_got(objects):
    objects.put("a/b.json", b"one")
    objects.put("a/b.json", b"two")

    assert objects.get("a/b.json") == b"two"
    assert objects.get("a/c.json") is None


def test_the_first_to_put_wins(objects, tmp_path):
    assert objects.put_if_absent("a/b.json", b"one")
    assert not objects.put_if_absent("a/b.json", b"two")
    assert objects.get("a/b.json") == b"one"
    assert files(tmp_path) == ["a/b.json"]


def test_of_many_that_put_at_once_exactly_one_wins(objects):
    start = threading.Barrier(16)
    won: list[int] = []

    def put(number):
        start.wait()
        if objects.put_if_absent("a/b.json", str(number).encode() * 1_000):
            won.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert objects.get("a/b.json") == str(won[0]).encode() * 1_000


def test_keys_are_listed_sorted_by_prefix(objects):
    for key in ("plans/B/2.json", "plans/A/10.json", "plans/A/02.json", "state/x.json"):
        objects.put(key, b"")

    assert objects.list("plans/A/") == ["plans/A/02.json", "plans/A/10.json"]
    assert objects.list("nothing/") == []


def test_a_folder_that_cannot_be_listed_is_not_taken_for_empty(objects, monkeypatch):
    objects.put("plans/A/1.json", b"")

    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "plans/A")

    monkeypatch.setattr(os, "scandir", fail)

    with pytest.raises(InvalidInput, match="plans/A: Permission denied"):
        objects.list("plans/A/")


def test_a_folder_that_is_not_there_yet_holds_nothing(tmp_path):
    objects = FileObjects(tmp_path / "later")

    assert objects.list("") == []
    assert objects.get("a.json") is None
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize("key", ["../a", "a/../b", "/etc/passwd", "", "a//b", "a/", ".a", "a/.b", "a\\b", "a b", "a\n"])
def test_a_key_never_leaves_the_folder(objects, key):
    with pytest.raises(InvalidInput, match="a key must be"):
        objects.put(key, b"")
    with pytest.raises(InvalidInput, match="a key must be"):
        objects.get(key)


@given(key=st.text(max_size=30))
def test_any_key_that_is_taken_stays_inside(key):
    root = Path("/nowhere/root")
    try:
        path = FileObjects(root)._path(key)
    except InvalidInput:
        return
    assert path.resolve().is_relative_to(root)


def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInput, match=r"file.*may write"):
        FileObjects(tmp_path / "file").put("a.json", b"")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.EROFS, InvalidInput),
        (errno.EACCES, InvalidInput),
        (errno.ENOSPC, DependencyUnavailable),
        (errno.EIO, DependencyUnavailable),
    ],
)
def test_a_disk_that_fails_leaves_nothing_behind(objects, tmp_path, monkeypatch, code, error):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(error, match=os.strerror(code)):
        objects.put_if_absent("a.json", b"half")
    assert files(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(InvalidInput, match="may write"):
        FileObjects(tmp_path).put("a.json", b"")


def test_a_failed_replacement_keeps_the_old(objects, monkeypatch):
    objects.put("a.json", b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)

    with pytest.raises(DependencyUnavailable):
        objects.put("a.json", b"new")
    assert objects.get("a.json") == b"old"


def test_an_object_is_replaced_only_while_it_is_what_was_expected(objects):
    assert not objects.replace("a.json", b"one", b"two")
    assert objects.replace("a.json", None, b"one")
    assert not objects.replace("a.json", None, b"two")
    assert not objects.replace("a.json", b"other", b"two")
    assert objects.get("a.json") == b"one"

    assert objects.replace("a.json", b"one", b"two")
    assert objects.get("a.json") == b"two"


def test_a_lock_is_never_listed(objects):
    objects.put("state/a.json", b"one")
    objects.replace("state/a.json", b"one", b"two")

    assert objects.list("") == ["state/a.json"]


def test_a_lock_that_is_held_too_long_is_no_endless_wait(objects, tmp_path, monkeypatch):
    monkeypatch.setattr("trading_pipeline.adapters.storage.objects.LOCK_SECONDS", 0.05)
    objects.put("a.json", b"one")

    with FileLock(tmp_path / ".a.json.lock"), pytest.raises(DependencyUnavailable, match=r"a\.json"):
        objects.replace("a.json", b"one", b"two")
    assert objects.get("a.json") == b"one"


def test_a_lock_dies_with_its_holder(objects, tmp_path):
    objects.put("a.json", b"one")
    lock = tmp_path / ".a.json.lock"
    hold = f"from filelock import FileLock; FileLock({str(lock)!r}).acquire(); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()

    assert objects.replace("a.json", b"one", b"two")


def test_a_plan_comes_back_equal(plans, make_plan):
    plan = make_plan()
    plan = replace(plan, orders=(replace(plan.orders[0], limit_price=None, quantity=Decimal("0.100000000")),))

    assert plans.put_if_absent(plan) is plan
    (stored,) = plans.versions("SIM0001", SESSION)
    assert stored == plan
    assert str(stored.orders[0].quantity) == "0.100000000"


def test_a_version_that_exists_is_returned_instead_of_ours(plans, make_plan):
    first = plans.put_if_absent(make_plan(symbols=("SPY",)))

    assert plans.put_if_absent(make_plan(symbols=("TLT",))) == first
    assert plans.versions("SIM0001", SESSION) == [first]


def test_versions_come_oldest_first_and_apart_by_account_session_and_kind(plans, make_plan):
    for version in (2, 10, 1):
        plans.put_if_absent(make_plan(version))
    plans.put_if_absent(make_plan(account="SIM0001x"))
    plans.put_if_absent(make_plan(session=date(2026, 7, 31)))
    plans.put_if_absent(make_plan(3, hypothetical=True))

    assert [plan.version for plan in plans.versions("SIM0001", SESSION)] == [1, 2, 10]
    assert [plan.version for plan in plans.hypothetical(SESSION)] == [3]
    assert plans.versions("SIM0002", SESSION) == []


def test_a_plan_lies_where_a_person_looks_for_it(plans, make_plan, tmp_path):
    plans.put_if_absent(make_plan())
    plans.put_if_absent(make_plan(hypothetical=True))

    assert files(tmp_path) == ["hypothetical/2026-07-30/0001.json", PLAN_FILE]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b'"2.5"', b'"25"', 1),
        lambda content: content.replace(b"SPY", b"SPX", 1),
        lambda content: content.replace(b'"schema_version":2', b'"schema_version":1'),
        lambda content: content.replace(b'"schema_version":2', b'"schema_version":3'),
        lambda content: content.replace(b'"buy"', b'"bye"'),
        lambda content: b"[]",
        lambda content: b"\xff\xfe",
    ],
)
def test_a_damaged_plan_is_refused_by_name(plans, make_plan, tmp_path, damage):
    plans.put_if_absent(make_plan())
    file = tmp_path / PLAN_FILE
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(DataError, match=PLAN_FILE):
        plans.versions("SIM0001", SESSION)
    with pytest.raises(DataError, match=PLAN_FILE):
        plans.put_if_absent(make_plan())


def test_a_plan_that_was_deleted_meanwhile_is_missed(objects, make_plan, monkeypatch):
    plans = StoredPlans(objects)
    plans.put_if_absent(make_plan())
    monkeypatch.setattr(objects, "get", lambda _: None)

    with pytest.raises(DataError, match="must never be deleted"):
        plans.versions("SIM0001", SESSION)


def test_a_plan_in_the_place_of_another_is_refused(plans, make_plan, tmp_path):
    plans.put_if_absent(make_plan())
    file = tmp_path / PLAN_FILE
    file.rename(file.with_name("0002.json"))

    with pytest.raises(DataError, match=r"0002\.json holds the plan of .*0001\.json"):
        plans.versions("SIM0001", SESSION)


def test_a_state_that_was_never_written_is_active(trading_state):
    assert trading_state.read() == ACTIVE


@pytest.mark.parametrize("mode", list(TradingMode))
def test_a_state_comes_back_equal(trading_state, clock, mode):
    state = TradingState(mode, "drawdown of 12 %", "risk watch", clock.now())
    trading_state.write(state)

    assert trading_state.read() == state


def test_the_newest_state_counts(trading_state):
    trading_state.write(TradingState(TradingMode.HALTED, "drill"))
    trading_state.write(ACTIVE)

    assert trading_state.read() == ACTIVE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b'{"state": {"mode": "active"}}',
        b'{"schema_version": 1, "state": {"mode": "maybe"}}',
        b'{"schema_version": 2, "state": {"mode": "active"}}',
        b'{"schema_version": 3, "sha256": "", "state": {"mode": "active"}}',
        b'{"schema_version": 1, "sha256": "00", "state": {"mode": "active"}}',
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "state": {}}',
    ],
)
def test_a_state_that_cannot_be_read_stops_trading(trading_state, tmp_path, content):
    file = tmp_path / STATE_FILE
    file.parent.mkdir()
    file.write_bytes(content)

    with pytest.raises(TradingHalted, match=STATE_FILE):
        trading_state.read()


def test_a_state_that_the_disk_withholds_stops_trading(trading_state, tmp_path):
    (tmp_path / STATE_FILE).mkdir(parents=True)

    with pytest.raises(TradingHalted, match="nothing is traded"):
        trading_state.read()


def test_a_state_of_the_first_version_had_no_seal_and_is_still_read(trading_state, tmp_path):
    file = tmp_path / STATE_FILE
    file.parent.mkdir()
    file.write_bytes(b'{"schema_version":1,"state":{"mode":"halted","reason":"drill","set_by":"","set_at":null}}\n')

    assert trading_state.read() == TradingState(TradingMode.HALTED, "drill")
    assert trading_state.change(lambda _: ACTIVE) == ACTIVE
    assert trading_state.read() == ACTIVE


@pytest.mark.parametrize("change", [(b'"halted"', b'"reducing"'), (b'"drill"', b'"frill"'), (b'"halted"', b'"active"')])
def test_a_state_that_was_altered_on_the_disk_stops_trading(trading_state, tmp_path, change):
    trading_state.write(TradingState(TradingMode.HALTED, "drill"))
    file = tmp_path / STATE_FILE
    file.write_bytes(file.read_bytes().replace(*change))

    with pytest.raises(TradingHalted, match=r"cannot be read, so nothing is traded: (it was changed|a latch needs)"):
        trading_state.read()
    with pytest.raises(TradingHalted, match="cannot be read"):
        trading_state.change(lambda state: state)

    trading_state.write(ACTIVE)
    assert trading_state.read() == ACTIVE


@given(data=st.data())
def test_no_half_of_a_state_and_no_flipped_byte_reads_as_another_state(data):
    with tempfile.TemporaryDirectory() as folder:
        trading_state = StoredTradingState(FileObjects(Path(folder)))
        state = TradingState(TradingMode.HALTED, "drill", "someone")
        trading_state.write(state)
        file = Path(folder) / STATE_FILE
        content = bytearray(file.read_bytes())
        place = data.draw(st.integers(0, len(content) - 2))
        if data.draw(st.booleans()):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[place:]
        file.write_bytes(content)

        try:
            read = trading_state.read()
        except TradingHalted:
            return
        assert read == state


def test_a_change_that_changes_nothing_writes_nothing(trading_state, tmp_path):
    assert trading_state.change(lambda state: state) == ACTIVE
    assert files(tmp_path) == []


def test_a_change_is_made_of_what_another_wrote_meanwhile(trading_state):
    seen: list[str] = []

    def change(state):
        seen.append(state.reason)
        if len(seen) == 1:
            trading_state.write(TradingState(TradingMode.HALTED, "first"))
        return TradingState(TradingMode.HALTED, f"{state.reason} and second")

    assert trading_state.change(change) == TradingState(TradingMode.HALTED, "first and second")
    assert seen == ["", "first"]


def test_a_state_that_is_written_without_end_is_given_up(objects, trading_state, monkeypatch):
    monkeypatch.setattr(objects, "replace", lambda *_: False)

    with pytest.raises(DependencyUnavailable, match="without end"):
        trading_state.change(lambda state: replace(state, reason="mine"))


COUNTING = """
import sys
from dataclasses import replace
from pathlib import Path
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState

state = StoredTradingState(FileObjects(Path(sys.argv[1])))
state.read()
print("ready", flush=True)
input()
for _ in range(int(sys.argv[2])):
    state.change(lambda now: replace(now, reason=now.reason + sys.argv[3]))
"""


def test_of_many_changes_by_two_processes_and_their_threads_none_is_lost(trading_state, tmp_path):
    changes = 200 if os.environ.get("FULL") else 25
    command = [sys.executable, "-c", COUNTING, str(tmp_path), str(changes)]
    others = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in "ab"]

    def change(name):
        for _ in range(changes):
            trading_state.change(lambda now: replace(now, reason=now.reason + name))

    threads = [threading.Thread(target=change, args=(name,)) for name in "cd"]
    assert [other.stdout.readline() for other in others] == [b"ready\n"] * 2
    for thread in threads:
        thread.start()
    for other in others:
        other.communicate(b"go\n", timeout=120)
    for thread in threads:
        thread.join()

    assert Counter(trading_state.read().reason) == dict.fromkeys("abcd", changes)


def test_a_writer_that_is_killed_leaves_a_whole_state_and_no_lock(trading_state, tmp_path):
    command = [sys.executable, "-c", COUNTING, str(tmp_path), "100000", "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
        while len(trading_state.read().reason) < 5:
            assert writer.poll() is None
        writer.kill()

    written = trading_state.read().reason
    assert set(written) == {"a"}
    assert trading_state.change(lambda now: replace(now, reason=now.reason + "b")).reason == written + "b"

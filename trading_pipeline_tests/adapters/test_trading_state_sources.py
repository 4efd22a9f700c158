import errno
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from trading_pipeline.adapters.trading_state_sources import BrokerFlags, EnvironmentWord, KeyAge, WordFiles
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode

NOW = datetime(2026, 7, 31, 16, tzinfo=UTC)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "market"
    folder.mkdir()
    return WordFiles([folder, tmp_path])


def test_the_variable_is_read_anew_each_time():
    environment = {}
    source = EnvironmentWord(environment)
    assert source.read() == ACTIVE

    environment["TRADING_HALT"] = "reduce"
    assert source.read().mode is TradingMode.REDUCING
    environment["TRADING_HALT"] = "whatever"
    assert source.read().mode is TradingMode.HALTED


@pytest.mark.parametrize(("name", "mode"), [("HALT", TradingMode.HALTED), ("REDUCE", TradingMode.REDUCING)])
@pytest.mark.parametrize("folder", [".", "market"])
def test_a_file_holds_trading_as_long_as_it_is_there_and_what_it_says_is_the_reason(
    files, tmp_path, name, mode, folder
):
    path = tmp_path / folder / name
    path.write_text("odd fills,\n  says Ann\n")

    state = files.read()
    assert (state.mode, state.reason) == (mode, "odd fills, says Ann")
    assert str(path) in state.set_by

    path.unlink()
    assert files.read() == ACTIVE


def test_both_files_hold_and_the_severer_decides(files, tmp_path):
    for name in ("HALT", "REDUCE"):
        (tmp_path / name).touch()

    assert files.read().mode is TradingMode.HALTED
    assert len(files.read().latches) == 2


def test_anything_of_that_name_counts_even_if_it_cannot_be_read(files, tmp_path):
    (tmp_path / "HALT").mkdir()
    assert files.read().mode is TradingMode.HALTED

    (tmp_path / "HALT").rmdir()
    (tmp_path / "HALT").symlink_to(tmp_path / "nowhere")
    assert files.read().mode is TradingMode.HALTED

    (tmp_path / "HALT").unlink()
    (tmp_path / "HALT").write_bytes(b"\xff\x00" * 10_000)
    assert files.read().mode is TradingMode.HALTED


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert WordFiles([tmp_path / "later"]).read() == ACTIVE


def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_empty(files, monkeypatch):
    def fail(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "lstat", fail)

    with pytest.raises(DependencyUnavailable, match="Permission denied"):
        files.read()


def test_the_file_that_is_put_down_holds_trading(files, tmp_path):
    assert files.put("the disk is full") == tmp_path / "market" / "HALT"
    assert (files.read().mode, files.read().reason) == (TradingMode.HALTED, "the disk is full")


def test_a_file_that_cannot_be_put_down_is_an_error_that_says_what_is_left_to_do(files, tmp_path):
    (tmp_path / "market" / "HALT").mkdir()

    with pytest.raises(InvalidInput, match="set TRADING_HALT=halt"):
        files.put("drill")


def test_keys_are_as_old_as_the_clock_says():
    made_on, longest = date(2026, 7, 1), timedelta(days=30)

    assert KeyAge(made_on, longest, lambda: NOW - timedelta(hours=16)).read() == ACTIVE
    assert KeyAge(made_on, longest, lambda: NOW).read().mode is TradingMode.REDUCING
    assert KeyAge(made_on, longest, lambda: NOW + timedelta(days=6)).read().mode is TradingMode.HALTED
    assert KeyAge(made_on, longest, lambda: NOW - timedelta(days=90)).read().mode is TradingMode.HALTED


@pytest.mark.parametrize(("blocked", "mode"), [("", TradingMode.ACTIVE), ("trading_blocked", TradingMode.HALTED)])
def test_an_account_that_the_broker_blocks_is_halted(blocked, mode):
    portfolio = Portfolio("SIM1", NOW, Decimal(1), blocked=blocked)
    state = BrokerFlags(lambda: SimpleNamespace(portfolio=lambda: portfolio)).read()

    assert state.mode is mode
    assert blocked in state.reason

"""What a person may get wrong: one screen that names cause and remedy, exit code not 0, tables as they were."""

import os
import socket
import sys
from datetime import date

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.cli import main
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.domain.strategies import STRATEGIES, tree

ONE_SCREEN = 30
SYMBOLS = sorted({symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)})


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    """Run a command in this process; return its exit code and what it said on standard error."""
    for name in list(os.environ):
        if name.startswith(("TRADING_", "APCA_")):
            monkeypatch.delenv(name)

    def run(*arguments):
        # The command puts its options into the environment for its children; the test takes them back.
        monkeypatch.setattr(os, "environ", os.environ.copy())
        monkeypatch.setattr(sys, "argv", ["trading-pipeline", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def bars():
    days = sessions_between(date(2026, 6, 1), date(2026, 7, 31))
    closes = 100 + np.arange(len(days), dtype=float)
    frames = [pd.DataFrame({"symbol": symbol, "date": days, "close": closes}) for symbol in SYMBOLS]
    return pd.concat(frames, ignore_index=True).assign(open=np.nan, high=np.nan, low=np.nan, volume=np.nan)


def with_value(bars, column, value):
    changed = bars.astype({column: object})
    changed.loc[5, column] = value
    return changed


def with_utc_stamps(bars):
    return bars.assign(date=pd.to_datetime(bars["date"]).dt.tz_localize("UTC"))


FAULTS = {
    "missing columns": (lambda bars: bars.drop(columns="close"), "lacks close"),
    "text in prices": (lambda bars: with_value(bars, "close", "n/a!"), "not numbers, the first: 'n/a!'"),
    "a negative price": (lambda bars: with_value(bars, "close", -3), "not a positive number"),
    "duplicate rows": (lambda bars: pd.concat([bars.iloc[:1], bars]), "more than once"),
    "unsorted dates": (lambda bars: bars.iloc[::-1], "Sort the rows"),
    "a wrong time zone": (with_utc_stamps, "midnight in New York"),
    "zero rows": (lambda bars: bars.iloc[:0], "at least one bar"),
    "an unknown symbol": (lambda bars: bars.replace({"symbol": {"KMLM": "ZZZZ"}}), "ZZZZ"),
    "a holiday": (lambda bars: with_value(bars, "date", date(2026, 6, 7)), "2026-06-07"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_bars_file_is_refused_and_nothing_is_written(fault, bars, said, tmp_path):
    spoil, cause = FAULTS[fault]
    path = tmp_path / "bars.csv"
    spoil(bars).to_csv(path, index=False)

    code, errors = said("run", "--home", tmp_path / "home", "--bars", path)

    assert code == 1
    assert cause in errors
    assert str(path) in errors
    assert len(errors.splitlines()) <= ONE_SCREEN
    assert not (tmp_path / "home").exists()


def test_unknown_symbols_may_be_left_out_on_purpose(bars, said, tmp_path):
    path = tmp_path / "bars.csv"
    pd.concat([bars, bars.iloc[:5].assign(symbol="ZZZZ")]).to_csv(path, index=False)

    _, refused = said("run", "--home", tmp_path, "--bars", path, "--through", "2026-07-04")
    _, ignored = said("run", "--home", tmp_path, "--bars", path, "--through", "2026-07-04", "--ignore-unknown-symbols")

    assert "--ignore-unknown-symbols" in refused
    assert "2026-07-04 is not a session" in ignored


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("risk: {max_ordes_per_session: 3}", "did you mean risk.max_orders_per_session?"),
        ("strategies: {capital_shares: {nuclear: 0.4, tecl: 0.5}}", "must sum to 1"),
        ("strategies: {capital_shares: {nuclear: 0.4, tecll: 0.6}}", "tecll"),
        ("simulator: {seed: 2026-02-30}", "day is out of range"),
        ("mode: live", "TRADING_LIVE_ACCOUNT"),
        ("mode: paper", "APCA_API_KEY_ID"),
        ("{", "is not YAML"),
    ],
)
def test_faulty_settings_are_refused_with_their_place(text, cause, said, tmp_path):
    path = tmp_path / "settings.yml"
    path.write_text(text)

    code, errors = said("run", "--home", tmp_path / "home", "--settings", path)

    assert code == 1
    assert cause in errors


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--through", "2026-02-30"], "must be a date"),
        (["--through", "2026-07-04"], "the one before is 2026-07-02"),
        (["--through", "2039-01-03"], "after the newest session"),
    ],
)
def test_an_impossible_date_is_refused(arguments, cause, said, tmp_path):
    code, errors = said("run", "--home", tmp_path, *arguments)

    assert code == 1
    assert cause in errors


def test_a_count_of_no_sessions_is_refused(said, tmp_path):
    code, errors = said("run", "--home", tmp_path, "--sessions", "0")

    assert code == 2
    assert "--sessions" in errors


def test_a_folder_that_cannot_be_written_is_refused(said, tmp_path):
    (tmp_path / "file").write_text("not a folder")

    code, errors = said("run", "--home", tmp_path / "file" / "home")

    assert code == 1
    assert "cannot be written" in errors
    assert "--home" in errors


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_refused(said, tmp_path):
    tmp_path.chmod(0o500)

    code, errors = said("run", "--home", tmp_path / "home")

    assert code == 1
    assert "cannot be written" in errors


def test_a_port_in_use_is_refused(said, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        code, errors = said("dev", "--home", tmp_path, "--port", taken.getsockname()[1])

    assert code == 1
    assert "choose another with --port" in errors

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.home import HOME_VARIABLE, home_of
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application.decision import panel_of, signal_of
from trading_pipeline.cli.explain import explain, signal
from trading_pipeline.cli.signals import signals
from trading_pipeline.cli.workshop import BARS_VARIABLE
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import last_completed_session, sessions_between
from trading_pipeline.domain.signals import to_frame
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, tree
from trading_pipeline.settings import Settings

FIRST, LAST = date(2022, 1, 3), date(2023, 6, 30)
TECL = STRATEGIES["tecl"]


@pytest.fixture(scope="module")
def bars():
    """Make bars of TECL's symbols that wander; KMLM lists in 2023."""
    days = sessions_between(FIRST, LAST)
    generator = np.random.default_rng(3)
    frames = []
    for symbol in tree.symbols(TECL.tree):
        close = (100 * np.exp(np.cumsum(generator.normal(0, 0.01, len(days))))).round(4)
        frame = pd.DataFrame({"symbol": symbol, "session": days, "close": close})
        frames.append(frame[frame["session"] >= date(2023, 1, 3)] if symbol == "KMLM" else frame)
    return pd.concat(frames, ignore_index=True).assign(open=np.nan, high=np.nan, low=np.nan, volume=np.nan)


@pytest.fixture(scope="module")
def bars_file(bars, tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    bars.to_csv(path, index=False)
    return path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder for everything; what commands put into the environment is taken out again."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tables(elsewhere):
    return DeltaTables(str(home_of(Settings(), elsewhere).prepared().tables))


@pytest.fixture
def decided(tables, bars):
    """What the pipeline stores of a decision."""
    panel = panel_of([TECL], bars, LAST, Smoothing.WILDER)
    tables.replace_session("indicators", LAST, panel.to_frame(LAST))
    made = signal_of(TECL, panel, Smoothing.WILDER)
    tables.replace_session("tecl_signal", LAST, to_frame(made))
    return made


def run(*arguments):
    app = typer.Typer()
    app.add_typer(explain, name="explain")
    return CliRunner().invoke(app, ["explain", "signal", *map(str, arguments)])


def test_the_stored_readings_explain_the_stored_signal(decided):
    result = run("tecl", LAST)

    assert result.exit_code == 0, result.output
    head, *path, closest = result.stdout.splitlines()
    assert head.startswith(f"tecl, session {LAST}: ")
    assert all(symbol in head for symbol in decided.weights)
    assert path[0].startswith("  price(SPY) = ")
    assert closest.startswith("closest: ")
    assert result.stderr == ""


def test_a_file_of_bars_explains_what_signals_says_of_it(bars_file, elsewhere):
    signals("tecl", bars_file, elsewhere / "all.csv")
    history = pd.read_csv(elsewhere / "all.csv")

    for session in ("2023-02-01", "2022-12-30", "2022-01-10"):
        said = json.loads(run("tecl", session, "--bars", bars_file, "--json").stdout)

        rows = history[history["session"] == session]
        held = dict(rows.dropna(subset=["symbol"])[["symbol", "weight"]].itertuples(index=False))
        assert (said["session"], said["weights"]) == (session, pytest.approx(held))
        assert said["status"] == rows["status"].iloc[0]
        assert (said["reason"] or "") == rows["reason"].fillna("").iloc[0]


def test_the_drawing_is_written_to_a_file(decided, elsewhere):
    assert run("tecl", LAST, "--svg", elsewhere / "path.svg").exit_code == 0

    drawing = (elsewhere / "path.svg").read_text()
    assert drawing.startswith("<svg ")
    assert f"tecl, session {LAST}" in drawing


def test_a_stored_signal_that_the_readings_do_not_give_is_said_loudly(decided, tables):
    other = to_frame(decided).head(1).assign(symbol="OTHER", weight=1.0)
    tables.replace_session("tecl_signal", LAST, other)

    result = run("tecl", LAST)

    assert result.exit_code == 1
    assert result.stdout.startswith("tecl, session")
    assert "warning: the stored signal is another one: OTHER 100%. The stored readings give" in result.stderr


def test_a_stored_signal_that_was_unavailable_is_said_with_its_reason(decided, tables):
    other = to_frame(decided).head(1).assign(symbol=None, weight=np.nan, status="unavailable", reason="rsi is missing")
    tables.replace_session("tecl_signal", LAST, other)

    assert "another one: unavailable (rsi is missing)" in run("tecl", LAST).stderr


def test_readings_that_were_written_again_since_are_noticed(decided, tables, bars):
    later = bars.assign(close=bars["close"] * np.where(bars["symbol"] == "SPY", 1.0001, 1))
    tables.replace_session("indicators", LAST, panel_of([TECL], later, LAST, Smoothing.WILDER).to_frame(LAST))

    result = run("tecl", LAST)

    assert result.exit_code == 1
    assert "decided on other readings" in result.stderr


def test_readings_without_a_signal_are_said_to_be_just_that(decided, tables):
    tables.replace_session("tecl_signal", LAST, to_frame(decided).head(0))

    result = run("tecl", LAST)

    assert (result.exit_code, "no signal is stored" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("strategy", "session", "message"),
    [
        ("tekl", "2023-06-30", "did you mean tecl"),
        ("tecl", "yesterday", "SESSION must be a date such as 2026-07-31, was 'yesterday'"),
        (
            "tecl",
            "2023-07-01",
            "2023-07-01 is not a session of the New York Stock Exchange; the one before is 2023-06-30",
        ),
        ("tecl", "2023-06-29", "no readings of session 2023-06-29 are stored in .* --through 2023-06-30"),
    ],
)
def test_what_cannot_be_explained_is_said_with_what_to_do(elsewhere, strategy, session, message):
    with pytest.raises(InvalidInput, match=message):
        signal(strategy, session)


def test_without_a_session_it_is_the_newest(decided, bars_file):
    assert run("tecl").stdout.startswith(f"tecl, session {LAST}: ")
    assert run("tecl", "--bars", bars_file).stdout.startswith(f"tecl, session {LAST}: ")


def test_where_nothing_was_decided_there_is_no_newest(tables):
    with pytest.raises(InvalidInput, match=r"no session was decided in .* yet; trading-pipeline run decides some"):
        signal("tecl")


@pytest.mark.parametrize("session", [date(2023, 6, 29), last_completed_session(WallClock().now())])
def test_what_no_run_can_decide_any_more_or_yet_leads_to_what_is_stored(decided, session):
    with pytest.raises(InvalidInput, match=rf"ask for one that is \(the newest: {LAST}\)") as error:
        signal("tecl", str(session))

    assert "trading-pipeline run" not in str(error.value)


def test_what_the_file_of_bars_does_not_reach_no_run_can_decide(tables, bars_file, monkeypatch):
    monkeypatch.setenv(BARS_VARIABLE, str(bars_file))

    with pytest.raises(InvalidInput, match="--through 2023-06-30"):
        signal("tecl", "2023-06-29")
    with pytest.raises(InvalidInput, match=r"no readings of session 2023-06-30 are stored in .*: none is, name"):
        signal("tecl", "2023-06-30")


def test_a_session_that_the_file_does_not_cover_is_named(elsewhere, bars_file):
    with pytest.raises(InvalidInput, match="covers 2022-01-03 to 2023-06-30, not 2023-07-03"):
        signal("tecl", "2023-07-03", bars_file)


def test_a_drawing_that_cannot_be_written_is_named(decided, elsewhere):
    with pytest.raises(InvalidInput, match=r"absent/path\.svg cannot be written"):
        signal("tecl", str(LAST), svg=elsewhere / "absent" / "path.svg")

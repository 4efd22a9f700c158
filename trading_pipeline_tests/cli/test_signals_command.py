import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from trading_pipeline.cli.signals import signals
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.domain.strategies import STRATEGIES, tree

SHARED = Path(__file__).parents[2].parent / "shared"
FIRST, LAST = date(2022, 1, 3), date(2023, 6, 30)
COLUMNS = ["session", "symbol", "weight", "status", "reason"]


def write_bars(name, folder):
    """Write bars of a strategy's symbols that wander; KMLM lists in 2023."""
    days = sessions_between(FIRST, LAST)
    generator = np.random.default_rng(3)
    frames = []
    for symbol in tree.symbols(STRATEGIES[name].tree):
        close = (100 * np.exp(np.cumsum(generator.normal(0, 0.01, len(days))))).round(4)
        frame = pd.DataFrame({"symbol": symbol, "session": days, "close": close})
        frames.append(frame[frame["session"] >= date(2023, 1, 3)] if symbol == "KMLM" else frame)
    bars = pd.concat(frames, ignore_index=True).assign(open=np.nan, high=np.nan, low=np.nan, volume=np.nan)
    bars.to_csv(folder / "bars.csv", index=False)
    return folder / "bars.csv"


@pytest.fixture(scope="module")
def bars_file(tmp_path_factory):
    return write_bars("tecl", tmp_path_factory.mktemp("bars"))


@pytest.fixture(scope="module")
def whole(bars_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "whole.parquet"
    signals("tecl", bars_file, out)
    return pd.read_parquet(out)


def test_all_sessions_of_the_bars_are_answered_in_order(whole):
    assert whole.columns.tolist() == COLUMNS
    assert tuple(dict.fromkeys(whole["session"])) == tuple(sessions_between(FIRST, LAST))
    assert whole[["session", "symbol"]].dropna().apply(tuple, axis=1).is_monotonic_increasing
    available = whole[whole["status"] == "available"]
    assert available.groupby("session")["weight"].sum().to_numpy() == pytest.approx(1)


def test_an_unavailable_session_is_one_row_with_the_reason(whole):
    early = whole[whole["session"] == FIRST]

    assert early["reason"].tolist() == ["sma(SPY,200) is missing"]
    assert early[["symbol", "weight"]].isna().all(axis=None)
    assert "rsi(KMLM,10) is missing" in set(whole["reason"])


def test_a_range_of_sessions_equals_that_part_of_all(bars_file, whole, tmp_path):
    signals("tecl", bars_file, tmp_path / "part.parquet", "2023-02-01", "2023-03-31")

    part = pd.read_parquet(tmp_path / "part.parquet")
    wanted = whole[whole["session"].between(date(2023, 2, 1), date(2023, 3, 31))]
    pd.testing.assert_frame_equal(part, wanted.reset_index(drop=True))


def test_csv_and_parquet_hold_the_same(bars_file, whole, tmp_path):
    signals("tecl", bars_file, tmp_path / "all.csv")

    read = pd.read_csv(tmp_path / "all.csv", parse_dates=["session"])
    pd.testing.assert_frame_equal(read.assign(session=read["session"].dt.date), whole, check_dtype=False)


def test_the_file_replaces_an_earlier_one_and_nothing_is_left_beside_it(bars_file, tmp_path):
    out = tmp_path / "signals.csv"
    out.write_text("earlier")

    signals("tecl", bars_file, out, "2023-06-01")

    assert out.read_text().startswith("session,symbol,weight,status,reason\n2023-06-01,")
    assert [path.name for path in tmp_path.iterdir()] == ["signals.csv"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "tekl"}, r"did you mean tecl\? The strategies are nuclear, tecl, klm"),
        ({"from_": "2023-02-30"}, "--from was '2023-02-30'"),
        ({"to": "soon"}, "--to was 'soon'"),
        ({"from_": "2023-03-01", "to": "2023-02-01"}, "--from was 2023-03-01, later than --to"),
        ({"from_": "2023-01-07", "to": "2023-01-08"}, "no session lies between"),
        ({"from_": "2030-01-02", "to": "2030-02-01"}, "bars cover 2022-01-03 to 2023-06-30"),
        ({"from_": "2010-01-04", "to": "2010-02-01"}, "bars cover 2022-01-03 to 2023-06-30"),
        ({"out": Path("signals.xlsx")}, r"--out was signals\.xlsx.*\.parquet or \.csv"),
        ({"variants": Path("variants.xlsx")}, r"--variants was variants\.xlsx.*\.parquet or \.csv"),
        ({"variants": Path("out.csv")}, "--variants was out.csv, and so was --out"),
        ({"variants": Path("variants.csv")}, "tecl has no variants"),
        ({"bars": Path("nowhere.csv")}, "nowhere.csv"),
    ],
)
def test_input_that_cannot_be_used_is_named_and_nothing_is_written(bars_file, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    arguments = {"strategy": "tecl", "bars": bars_file, "out": Path("out.csv")} | changes

    with pytest.raises(InvalidInput, match=message):
        signals(**arguments)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["out", "variants"])
@pytest.mark.parametrize("spelled", ["bars.csv", "sub/../bars.csv", "link.csv"])
def test_a_file_of_bars_is_not_written_over_however_it_is_spelled(bars_file, tmp_path, option, spelled):
    bars = tmp_path / "bars.csv"
    bars.write_bytes(bars_file.read_bytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.csv").symlink_to(bars)
    files = {"out": tmp_path / "out.csv"} | {option: tmp_path / spelled}

    with pytest.raises(InvalidInput, match=rf"--{option} was .*{spelled}, and so was --bars: give each"):
        signals("klm", bars, **files)

    assert bars.read_bytes() == bars_file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.csv", "link.csv", "sub"]


def test_a_folder_that_is_not_there_is_named(bars_file, tmp_path):
    with pytest.raises(InvalidInput, match="cannot be written"):
        signals("tecl", bars_file, tmp_path / "absent" / "out.csv")


def test_the_command_takes_its_options_and_sums_up_on_stderr(bars_file, tmp_path):
    app = typer.Typer()
    app.command()(signals)
    out = tmp_path / "out.csv"
    arguments = ["tecl", "--bars", bars_file, "--from", "2022-12-01", "--to", "2023-01-31", "--out", out]

    result = CliRunner().invoke(app, [*map(str, arguments), "--rsi-smoothing", "cutler"])

    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "sessions available" in result.stderr
    assert "rsi(KMLM,10) is missing" in result.stderr
    assert out.exists()


def test_the_smoothing_changes_the_answer(bars_file, whole, tmp_path):
    from trading_pipeline.domain.smoothing import Smoothing

    signals("tecl", bars_file, tmp_path / "cutler.parquet", rsi_smoothing=Smoothing.CUTLER)

    assert not pd.read_parquet(tmp_path / "cutler.parquet").equals(whole)


def test_neither_dagster_nor_pandera_is_imported(bars_file, tmp_path):
    program = (
        "import json, sys; from pathlib import Path; from trading_pipeline.cli.signals import signals;"
        f"signals('tecl', Path({str(bars_file)!r}), Path({str(tmp_path / 'out.csv')!r}));"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not {"dagster", "pandera"}.intersection(json.loads(done.stdout))


@pytest.mark.parametrize("form", [".csv", ".parquet"])
def test_the_variants_of_an_ensemble_go_to_a_file_of_their_own(tmp_path, form):
    app = typer.Typer()
    app.command()(signals)
    files = {"--bars": write_bars("klm", tmp_path), "--out": tmp_path / "out.csv", "--variants": tmp_path / f"of{form}"}
    arguments = ["klm", *(str(part) for option in files.items() for part in option), "--from", "2023-06-28"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    assert f"written to {files['--out']} and {files['--variants']}" in result.stderr
    variants = (pd.read_csv if form == ".csv" else pd.read_parquet)(files["--variants"])
    columns = ["session", "variant", "symbol", "weight", "sdret5", "status", "reason", "chosen"]
    assert variants.columns.tolist() == columns
    assert variants.groupby("session")["variant"].nunique().tolist() == [8, 8, 8]
    held = variants.loc[variants["chosen"], ["session", "symbol", "weight"]].astype({"session": str})
    out = pd.read_csv(files["--out"])[["session", "symbol", "weight"]]
    pd.testing.assert_frame_equal(held.reset_index(drop=True), out, check_dtype=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.csv", f"of{form}", "out.csv"]


@pytest.fixture(scope="module")
def expected_answers():
    """Read the expected answers on real bars, by session: where the bars are, and the answers."""

    def read(name):
        bars, golden = SHARED / "data" / "bars.parquet", SHARED / "goldens" / f"{name}.parquet"
        if not (bars.exists() and golden.exists()):
            pytest.skip("../shared is not here: real bars and expected answers are not part of the repository")
        expected = pd.read_parquet(golden)
        return bars, expected.assign(session=expected["session"].dt.date)

    return read


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_command_gives_the_expected_answers_on_real_bars(name, expected_answers, tmp_path):
    bars, expected = expected_answers(name)
    expected = expected.sort_values(["session", "symbol"], ignore_index=True)
    first, last = expected["session"].min(), expected["session"].max()

    signals(name, bars, tmp_path / "out.parquet", str(first), str(last))

    answered = pd.read_parquet(tmp_path / "out.parquet")
    assert (answered["status"] == "available").all()
    pd.testing.assert_frame_equal(answered[["session", "symbol", "weight"]], expected, rtol=0, atol=1e-9)


def test_the_command_gives_the_expected_variants_of_klm_on_real_bars(expected_answers, tmp_path):
    bars, expected = expected_answers("klm_variants")
    first, last = expected["session"].min(), expected["session"].max()

    signals("klm", bars, tmp_path / "out.parquet", str(first), str(last), variants=tmp_path / "variants.parquet")

    answered = pd.read_parquet(tmp_path / "variants.parquet")
    columns = ["session", "variant", "symbol", "weight", "sdret5"]
    order = {"by": ["session", "variant", "symbol"], "ignore_index": True}
    pd.testing.assert_frame_equal(
        answered[columns].sort_values(**order), expected[columns].sort_values(**order), rtol=0, atol=1e-9
    )
    best = answered.groupby("session")["sdret5"].transform("max")
    assert (answered["sdret5"] > best - 1e-9)[answered["chosen"]].all()
    assert answered[answered["chosen"]].groupby("session")["variant"].nunique().eq(1).all()

import pandas as pd
import pytest

from dbt_like_checks.__main__ import main

GOOD = "session,symbol,open,high,low,close,volume\n2026-07-30,SPY,,,,600.5,\n2026-07-31,SPY,600,602,599,601,5e6\n"


@pytest.fixture
def bars(tmp_path):
    def written(text, name="bars.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return written


def test_the_list_tells_every_promise_of_every_table(capsys):
    assert main(["list"]) == 0

    told = capsys.readouterr().out
    assert "allocation: Target weights of the whole account" in told
    assert "[error] sums_to_one_weight: weight sums to 1, within 1e-09, for each session." in told
    assert "close    float, dollars per share: Last price of the session." in told
    assert "fills: What was really bought and sold" in told


def test_the_list_of_one_table_tells_no_other(capsys):
    assert main(["list", "--table", "bars"]) == 0

    assert "allocation" not in capsys.readouterr().out


def test_a_file_that_keeps_its_contract_gives_zero(bars, capsys):
    assert main(["check", "bars", bars(GOOD), "--session", "2026-07-31"]) == 0

    assert "bars: 2 rows, 0 broken promises of severity error" in capsys.readouterr().out


def test_what_needs_a_session_is_said_not_to_be_judged_without_one(bars, capsys):
    assert main(["check", "bars", bars(GOOD)]) == 0

    assert "not judged: the expected session was not given" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "instead", "told"),
    [
        ("600.5", "-1", "broken: 1 of 2 rows"),
        ("600.5", "abc", "close is not all float"),
        ("2026-07-31", "31/07/2026", "session is not all date"),
        ("volume", "shares", "missing: volume; not in the contract: shares"),
        (GOOD[GOOD.index("2026") :], "", "broken: 0 rows"),
    ],
)
def test_a_file_that_breaks_it_gives_one_and_says_how(bars, capsys, found, instead, told):
    assert main(["check", "bars", bars(GOOD.replace(found, instead))]) == 1

    assert told in capsys.readouterr().out


def test_a_broken_warning_alone_gives_zero(bars, capsys):
    assert main(["check", "bars", bars(GOOD.replace(",601,", ",603,"))]) == 0

    assert "[warn ] close_is_within_the_range" in capsys.readouterr().out


def test_parquet_is_read_as_it_is(tmp_path, bars):
    frame = pd.read_csv(bars(GOOD), dtype={"volume": "float64"})
    path = tmp_path / "bars.parquet"
    frame.assign(session=pd.to_datetime(frame["session"]).dt.date).to_parquet(path)

    assert main(["check", "bars", str(path), "--session", "2026-07-31"]) == 0


def test_a_related_table_is_read_from_its_file(bars, capsys):
    signals = bars("session,strategy,symbol,weight,status,reason,inputs_hash\n2026-07-31,tecl,TECL,1,available,,0f\n")
    catalog = bars(
        "session,symbol,name,exchange,asset_class,leverage,tradable,fractionable\n"
        "2026-07-31,SPY,SPDR,ARCA,equity index,1,true,true\n",
        "catalog.csv",
    )

    assert main(["check", "signals", signals]) == 0
    assert main(["check", "signals", signals, "--related", f"asset_catalog={catalog}"]) == 1
    assert "Every symbol is found in asset_catalog.symbol.\n        broken: 1 of 1 rows" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere.parquet", "bars.xlsx"])
def test_a_file_that_cannot_be_read_gives_two(tmp_path, capsys, name):
    assert main(["check", "bars", str(tmp_path / name)]) == 2

    assert name in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", '"session\n', "a,b\n1,2,3,4\n5\n6,7,8,9,10\n"])
def test_a_file_without_a_table_gives_two(bars, capsys, text):
    assert main(["check", "bars", bars(text)]) == 2

    assert "cannot be read as csv" in capsys.readouterr().err


def test_an_unknown_contract_gives_two_and_the_known_ones(bars, capsys):
    assert main(["check", "bar", bars(GOOD)]) == 2

    assert "no contract is named 'bar'; there are allocation" in capsys.readouterr().err


def test_a_contract_may_be_a_file_of_ones_own(bars, capsys):
    assert main(["check", bars("table: 3\n", "own.yml"), bars(GOOD)]) == 2

    assert "own.yml:1" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["check"], ["check", "bars", "f", "--session", "Friday"], ["list", "--all"]])
def test_options_that_cannot_be_understood_give_two(options, capsys):
    with pytest.raises(SystemExit) as finished:
        main(options)

    assert finished.value.code == 2
    assert "usage: python -m dbt_like_checks" in capsys.readouterr().err

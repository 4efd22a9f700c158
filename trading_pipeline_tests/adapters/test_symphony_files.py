import pytest

from trading_pipeline.adapters.symphony_files import (
    is_symphony_file,
    known_strategies,
    read_strategy,
    strategies_in,
    strategy_of,
)
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies import STRATEGIES, tree

TREND = """
(defsymphony "Trend {name}" {{:asset-class "EQUITIES"{options}}}
  (weight-equal
    [(if (> (current-price "SPY") (moving-average-price "SPY" {{:window 200}}))
       [(asset "TQQQ" "ProShares UltraPro QQQ")]
       [(asset "BIL" nil)])]))
"""


@pytest.fixture
def write(tmp_path):
    def write(name, options="", text=TREND):
        path = tmp_path / name
        path.write_text(text.format(name=name, options=options), encoding="utf-8")
        return path

    return write


def test_a_file_becomes_a_strategy_called_as_it_is(write):
    strategy = read_strategy(write("trend.symphony", ", :rebalance-threshold 0.05"))

    assert (strategy.name, strategy.title, strategy.drift_threshold) == ("trend", "Trend trend.symphony", 0.05)
    assert tree.assets(strategy.tree) == ("BIL", "TQQQ")
    assert "trend.symphony" in strategy.description


def test_a_folder_adds_its_strategies_to_those_built_in(write, tmp_path):
    for name in ("zebra.edn", "a_trend.txt", "middle.clj", "README.md", ".hidden"):
        write(name)
    (tmp_path / "folder").mkdir()

    assert list(strategies_in(tmp_path)) == ["a_trend", "middle", "zebra"]
    assert list(known_strategies(tmp_path)) == [*STRATEGIES, "a_trend", "middle", "zebra"]
    assert known_strategies(None) == STRATEGIES


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("My Trend.symphony", "my_trend.symphony"), ("2x.edn", "s_2x.edn"), ("-.txt", "s.txt"), ("é.clj", "s.clj")],
)
def test_a_file_whose_name_cannot_be_a_strategys_is_refused_with_one_that_can(write, name, suggested):
    path = write(name)

    with pytest.raises(InvalidInput, match=f"{name} cannot name a strategy.*rename it, to {suggested} perhaps"):
        read_strategy(path)


def test_what_cannot_trade_is_refused(write, tmp_path):
    daily = write("daily.edn", ", :rebalance-frequency :daily")
    assert list(strategies_in(tmp_path)) == ["daily"]
    daily.unlink()

    weekly = write("weekly.edn", ", :rebalance-frequency :weekly")
    with pytest.raises(InvalidInput, match=r"weekly.edn is to be rebalanced weekly: .* :daily"):
        strategies_in(tmp_path)
    assert read_strategy(weekly).drift_threshold is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("trend.edn", "trend.txt"), "holds two files called trend"),
        (("nuclear.edn",), "files called nuclear, like built-in strategies"),
        (("trend.pdf",), r"holds trend.pdf: symphonies end in .symphony, .edn, .clj, .txt"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_refused(write, tmp_path, files, message):
    for name in files:
        write(name)

    with pytest.raises(InvalidInput, match=message):
        known_strategies(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"cannot be listed .*create it, or unset strategies\.folder"):
        known_strategies(tmp_path / "none")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_strategy(tmp_path / "none.edn")
    (tmp_path / "latin.edn").write_bytes('(defsymphony "\xe9")'.encode("latin-1"))
    with pytest.raises(InvalidInput, match="is not text in UTF-8"):
        read_strategy(tmp_path / "latin.edn")


def test_a_mistake_in_a_file_is_placed_in_it(write):
    path = write("wrong.edn", text='(defsymphony "Wrong" (weight-equal [(aset "SPY")]))')

    with pytest.raises(InvalidInput, match=r"wrong\.edn:1:\d+: .*aset"):
        read_strategy(path)


def test_a_person_may_name_a_strategy_or_a_file(write, tmp_path):
    path = write("trend.symphony")

    assert strategy_of("nuclear") is STRATEGIES["nuclear"]
    assert strategy_of(str(path)).name == "trend"
    assert strategy_of("trend", tmp_path).name == "trend"
    assert is_symphony_file("trend.symphony")
    with pytest.raises(InvalidInput, match=r"no strategy 'tren': did you mean trend\? The strategies are nuclear"):
        strategy_of("tren", tmp_path)

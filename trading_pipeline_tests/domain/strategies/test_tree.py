import copy
import math
import pickle

import pytest

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator, look_back
from trading_pipeline.domain.readings import Reading
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, strategy_named, tree
from trading_pipeline.domain.strategies.tree import (
    And,
    Asset,
    Comparison,
    Equal,
    Filter,
    If,
    Node,
    Operator,
    Or,
    bottom,
    cumret,
    ema,
    equal,
    first_match,
    group,
    if_,
    inverse_volatility,
    maret,
    mdd,
    price,
    rsi,
    sdprice,
    sdret,
    sma,
    specified,
    top,
)

# The symbols as the definitions of the strategies list them, for checking only.
DEFINED = {
    "nuclear": "SPY IOO TQQQ VTV XLF VOX UVXY BTAL QQQ SQQQ PSQ UPRO TLT IEF SMR BWXT LEU EXC NLR OKLO",
    "tecl": "SPY XLK KMLM TECL BIL UVXY SQQQ BSV TQQQ SPXL",
    "klm": "SPY QQQE VTV VOX TECL VOOG VOOV IOO QQQ XLP TQQQ XLY FAS XLF RETL XLK SOXL SPXL SPLV FNGU UVXY UVIX VIXY "
    "VXX VIXM SVIX SQQQ SVXY TLT BIL BTAL BND KMLM AGG LABD TZA LABU UUP FTLS ERX GLD SLV PDBC XLE FNGO TSLA MSFT AAPL "
    "NVDA GOOGL AMZN TMV TMF SPXU QID PSQ UPRO IEF",
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_reads_and_holds_the_symbols_of_its_definition(name):
    assert set(tree.symbols(STRATEGIES[name].tree)) == set(DEFINED[name].split())


def test_what_may_be_held_leaves_out_what_is_only_read():
    node = if_(
        rsi("SPY", 10) > rsi(group("bonds", equal("TLT", "IEF")), 10),
        "TQQQ",
        top(1, "A", "B", by=Indicator.RSI, window=5),
    )

    assert tree.assets(node) == ("A", "B", "TQQQ")
    assert tree.symbols(node) == ("A", "B", "IEF", "SPY", "TLT", "TQQQ")


def test_a_group_whose_series_is_read_needs_the_closes_of_what_it_may_hold():
    bonds = group("bonds", if_(rsi("SPY", 10) > 50, "TLT", "IEF"))

    assert set(tree.readings(inverse_volatility(14, bonds, "GLD"))) == {
        Reading("SPY", Indicator.RSI, 10),
        Reading("TLT", Indicator.PRICE, 1),
        Reading("IEF", Indicator.PRICE, 1),
        Reading("GLD", Indicator.RETURN_DEVIATION, 14),
    }


def test_a_group_that_only_names_a_subtree_needs_no_returns():
    assert tree.readings(group("bonds", equal("TLT", "IEF"))) == ()


def test_every_indicator_has_a_constructor_that_reads_it():
    measures = [
        rsi("S", 2), price("S"), sma("S", 2), ema("S", 2), maret("S", 2),
        cumret("S", 2), sdret("S", 2), sdprice("S", 2), mdd("S", 2),
    ]  # fmt: skip

    assert [measure.indicator for measure in measures] == list(Indicator)
    assert [str(measure) for measure in measures][:3] == ["rsi(S,2)", "price(S)", "sma(S,2)"]


def test_a_decision_without_group_series_looks_at_one_session():
    assert tree.trailing_sessions(STRATEGIES["tecl"].tree) == 1
    assert tree.look_back(STRATEGIES["tecl"].tree) == 200


def test_look_back_adds_what_a_group_simulates_to_what_its_subtree_needs():
    node = inverse_volatility(14, group("G", if_(rsi("PSQ", 20) > 50, "A", "B")))

    assert tree.trailing_sessions(node) == 15
    assert tree.look_back(node) == 14 + look_back(Indicator.RSI, 20)
    assert tree.look_back(node, Smoothing.CUTLER) == 14 + 21


def test_look_back_of_groups_within_groups_adds_up():
    inner = group("inner", if_(sma("A", 30) > 1, "A", "B"))
    outer = group("outer", if_(sma(inner, 5) > 1, "A", "B"))

    assert tree.trailing_sessions(if_(sma(outer, 3) > 1, "A", "B")) == 3 + 4
    assert tree.look_back(if_(sma(outer, 3) > 1, "A", "B")) == 2 + 4 + 30


def test_first_match_asks_in_the_order_given():
    first, second = rsi("A", 2) > 1, rsi("B", 2) > 2

    assert first_match((first, "X"), (second, "Y"), otherwise="Z") == If(
        first, Asset("X"), If(second, Asset("Y"), Asset("Z"))
    )


def test_operators_make_the_conditions_they_look_like():
    above, below = rsi("A", 2) > 1, rsi("A", 2) < 2

    assert above & below == And((above, below))
    assert above | below == Or((above, below))
    assert (rsi("A", 2) >= 3).operator is Operator.AT_LEAST
    assert (rsi("A", 2) <= 3).operator is Operator.AT_MOST
    assert (79 < rsi("A", 2)) == (rsi("A", 2) > 79)  # noqa: SIM300 - a number on the left is the point


@pytest.mark.parametrize(
    "drop_half",
    [
        lambda: 30 < rsi("A", 2) < 70,
        lambda: rsi("A", 2) > 30 and rsi("A", 2) < 70,
        lambda: not rsi("A", 2) > 30,
    ],
)
def test_python_words_that_would_drop_half_of_a_condition_are_refused(drop_half):
    with pytest.raises(InvalidInput, match=r"&, \| and ~"):
        drop_half()


def copies_of(make) -> tuple[Node, Node]:
    return make(), make()


def test_trees_of_the_same_shape_are_equal_and_hash_alike():
    left, right = copies_of(lambda: if_(~(rsi("A", 2) > 1), equal("A", "B"), specified((0.3, "A"), (0.7, "B"))))

    assert left == right
    assert hash(left) == hash(right)
    assert left != if_(~(rsi("A", 2) > 1), equal("A", "B"), specified((0.4, "A"), (0.6, "B")))
    assert Asset("A") != Asset("B")
    assert Asset("A") != "A"


def test_a_tree_survives_pickling_and_copying():
    node = STRATEGIES["nuclear"].tree

    assert pickle.loads(pickle.dumps(node)) == node  # noqa: S301 - our own bytes
    assert copy.deepcopy(node) == node


def test_hashing_a_deep_tree_does_not_walk_it():
    node = Asset("A")
    for _ in range(5_000):
        node = Equal((node,))

    assert hash(node) == hash(Equal(node.children))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: specified((0.5, "A"), (0.4, "B")), "sum to 1"),
        (lambda: specified((1.5, "A"), (-0.5, "B")), "between 0 and 1"),
        (lambda: specified((math.nan, "A"), (1.0, "B")), "between 0 and 1"),
        (specified, "at least one child"),
        (lambda: tree.Specified((1.0,), (Asset("A"), Asset("B"))), "a weight for each child"),
        (equal, "at least one child"),
        (lambda: inverse_volatility(14), "at least one child"),
        (lambda: inverse_volatility(0, "A"), "window"),
        (lambda: inverse_volatility(5, equal("A", "B")), "assets and groups"),
        (lambda: top(0, "A", by=Indicator.RSI, window=5), "at least 1 candidate"),
        (lambda: top(1, by=Indicator.RSI, window=5), "at least one child"),
        (lambda: bottom(1, "A", by=Indicator.RSI, window=1), "window"),
        (lambda: bottom(1, equal("A"), by=Indicator.RSI, window=5), "assets and groups"),
        (lambda: rsi("A", 1), "window"),
        (lambda: sma("A", 0), "window"),
        (lambda: rsi("", 5), "symbol"),
        (lambda: Asset("S PY"), "symbol"),
        (lambda: group(" ", "A"), "name"),
        (lambda: rsi("A", 5) > -math.inf, "finite"),
        (lambda: Comparison(math.nan, Operator.ABOVE, rsi("A", 5)), "finite"),
        (lambda: And(()), "at least one"),
        (lambda: Or(()), "at least one"),
    ],
)
def test_a_tree_that_makes_no_sense_cannot_be_built(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


def test_a_filter_may_keep_more_than_it_has():
    assert isinstance(top(3, "A", by=Indicator.RSI, window=5), Filter)


def test_an_unknown_strategy_is_answered_with_the_known_ones():
    with pytest.raises(InvalidInput, match=r"did you mean nuclear\? The strategies are nuclear, tecl, klm"):
        strategy_named("nuklear")
    with pytest.raises(InvalidInput, match="the strategies are nuclear, tecl, klm"):
        strategy_named("xyz")

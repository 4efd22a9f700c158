import gc
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.domain.strategies import symphony_forms as forms
from trading_pipeline.domain.strategies.symphony_text import Symphony, read_symphony, tokens, write_symphony
from trading_pipeline.domain.strategies.tree import (
    Asset,
    Equal,
    Group,
    bottom,
    cumret,
    ema,
    equal,
    group,
    if_,
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
from trading_pipeline_tests.generators import names, trees

TECL_BY_HAND = """
; TECL for the long term, laid out by hand
(defsymphony
 "TECL For The Long Term"
 {:asset-class "EQUITIES", :rebalance-frequency :daily}
 (if
  (> (current-price "SPY") (moving-average-price "SPY" {:window 200}))
  [(if (> (rsi "TQQQ" {:window 10}) 79)
     [(weight-specified
        0.25 (asset "UVXY" "ProShares Ultra VIX Short-Term Futures ETF")
        0.75 (asset "BIL" "SPDR Bloomberg 1-3 Month T-Bill ETF"))]
     [(if (> (rsi "SPY" {:window 10}) 80)
        [(weight-specified 0.25 (asset "UVXY" nil), 0.75 (asset "BIL" nil))]
        [(if (> (rsi "XLK" {:window 10}) (rsi "KMLM" {:window 10}))
           [(if (> (rsi "XLK" {:window 10}) 81) [(asset "BIL" nil)] [(asset "TECL" nil)])]
           [(if (< (rsi "XLK" {:window 10}) 29) [(asset "TECL" nil)] [(asset "BIL" nil)])])])])]
  [(if (< (rsi "TQQQ" 10) 31) ; windows may stand without a map
     [(asset "TECL")]
     [(if (< (rsi "SPXL" 10) 29)
        [(asset "EQUITIES::SPXL//USD" "SPXL")]
        [(if (> (rsi "EQUITIES::UVXY//USD" 10) 84)
           (weight-specified 0.15 (asset "UVXY") 0.85 (asset "BIL"))
           [(if (> (rsi "UVXY" 10) 74)
              [(asset "BIL")]
              [(if (> (rsi "XLK" 10) (rsi "KMLM" 10))
                 [(if (> (rsi "XLK" 10) 81.0) [(asset "BIL")] [(asset "TECL")])]
                 [(if (< (rsi "XLK" 10) 2.9e1)
                    [(asset "TECL")]
                    [(filter (rsi {:window 9}) (select-top 1)
                       [(asset "SQQQ") (asset "BSV")])])])])])])])]))
"""


def tree_of(block, options="{}"):
    return read_symphony(f'(defsymphony "x" {options} {block})').tree


def refusal_of(text):
    with pytest.raises(InvalidInput) as refused:
        read_symphony(text, source="s.clj")
    return str(refused.value)


def nested(depth):
    """A text of a tree with ``depth`` nodes one inside the other."""
    return '(defsymphony "x" {} ' + "(weight-equal [" * (depth - 1) + '(asset "A")' + "])" * (depth - 1) + ")"


def symphonies():
    return st.builds(
        Symphony,
        names(),
        trees(max_leaves=15),
        st.none() | st.text(max_size=8),
        st.none() | st.sampled_from(forms.FREQUENCIES),
        st.none() | st.floats(0, 1, exclude_min=True),
    )


@given(symphonies())
def test_a_symphony_that_is_written_is_read_as_it_was(symphony):
    text = write_symphony(symphony)

    again = read_symphony(text)

    assert again == symphony
    assert write_symphony(again) == text


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_built_in_strategy_survives_its_text(name):
    symphony = Symphony(name, STRATEGIES[name].tree, "EQUITIES", "daily")

    assert read_symphony(write_symphony(symphony)) == symphony


def test_a_symphony_written_by_hand_is_the_built_in_tree():
    symphony = read_symphony(TECL_BY_HAND)

    assert symphony == Symphony("TECL For The Long Term", STRATEGIES["tecl"].tree, "EQUITIES", "daily")


def test_a_text_is_laid_out_as_composer_does():
    tree = equal(if_(rsi("SPY", 10) > 79, specified((0.75, "UVXY"), (0.25, "BTAL")), group("calm", equal("TLT"))))

    assert write_symphony(Symphony("Hedge", tree, "EQUITIES", rebalance_threshold=0.05)) == (
        "(defsymphony\n"
        ' "Hedge"\n'
        ' {:asset-class "EQUITIES", :rebalance-threshold 0.05}\n'
        " (weight-equal\n"
        "  [(if\n"
        '    (> (rsi "SPY" {:window 10}) 79)\n'
        '    [(weight-specified 0.75 (asset "UVXY") 0.25 (asset "BTAL"))]\n'
        '    [(group "calm" [(weight-equal [(asset "TLT")])])])]))\n'
    )


def test_the_example_of_the_manual_is_what_it_says():
    manual = (Path(__file__).parents[3] / "docs" / "symphonies.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```clojure\n(.*?)```", manual, re.DOTALL)
    havens = bottom(1, "TLT", "GLD", by=Indicator.RETURN_DEVIATION, window=20)
    leverage = if_(rsi("TQQQ", 10) > 79, specified((0.25, "UVXY"), (0.75, "BIL")), "TQQQ")

    assert read_symphony(example).tree == equal(if_(price("SPY") > sma("SPY", 200), leverage, havens))


def test_every_indicator_has_its_word():
    written = {
        "rsi": rsi, "moving-average-price": sma, "exponential-moving-average-price": ema,
        "moving-average-return": maret, "cumulative-return": cumret, "stdev-return": sdret,
        "standard-deviation-return": sdret, "stdev-price": sdprice, "standard-deviation-price": sdprice,
        "max-drawdown": mdd, "relative-strength-index": rsi,
    }  # fmt: skip
    for word, reading in written.items():
        assert tree_of(f'(if (>= ({word} "S" {{:window 7}}) -2.5) (asset "A") (asset "B"))') == if_(
            reading("S", 7) >= -2.5, "A", "B"
        )
    assert tree_of('(if (<= 5 (current-price "S")) [(asset "A")] [(asset "B")])').condition.right == price("S")


def test_conditions_combine():
    text = '(if (or (and (> (rsi "S" 5) 1) (< (rsi "S" 5) 2)) (not (> (rsi "S" 5) 3))) [(asset "A")] [(asset "B")])'
    reading = rsi("S", 5)

    assert tree_of(text) == if_(((reading > 1) & (reading < 2)) | ~(reading > 3), "A", "B")


def test_several_blocks_of_a_branch_share_equally():
    text = '(if (> (rsi "S" 5) 1) [(asset "A") (asset "B")] [(group "g" [(asset "C") (asset "D")])])'

    assert tree_of(text) == if_(rsi("S", 5) > 1, equal("A", "B"), group("g", equal("C", "D")))


def test_a_candidate_without_a_name_becomes_a_group_called_by_what_it_does():
    tree = tree_of(
        "(weight-inverse-volatility 14 [(filter (moving-average-return {:window 90}) (select-top 3) "
        '[(asset "SMR") (asset "BWXT") (asset "LEU") (asset "EXC")]) (if (> (rsi "S" 5) 1.5) [(asset "A")] '
        '[(asset "B")]) (weight-equal [(asset "A")]) (asset "C")])'
    )

    assert [str(child) for child in tree.children] == [
        "top 3 by maret(90) of SMR, BWXT, LEU, 1 more", "if rsi(S,5) > 1.5", "equal weights of A", "C"
    ]  # fmt: skip
    assert tree.children[1] == group("if rsi(S,5) > 1.5", if_(rsi("S", 5) > 1.5, "A", "B"))


def test_every_block_has_words_for_what_it_does():
    condition = '(and (> (rsi "S" 5) 1))'
    blocks = {
        f'(if {condition} [(asset "A")] [(asset "B")])': "if and",
        '(weight-specified 1 (group "g" [(asset "A")]))': "specified weights of g",
        '(weight-inverse-volatility 5 [(asset "A")])': "inverse volatility(5) of A",
        '(asset "A")': "block of A",
    }

    for block, words in blocks.items():
        assert tree_of(f'(group " " [{block}])').name == words


def test_a_reading_may_be_of_a_group():
    bonds = group("bonds", equal("TLT", "IEF"))

    text = '(if (> (rsi (group "bonds" [(asset "TLT") (asset "IEF")]) {:window 10}) 50) [(asset "A")] [(asset "B")])'

    assert tree_of(text) == if_(rsi(bonds, 10) > 50, "A", "B")


def test_filters_rank_by_anything_that_can_be_read():
    assert tree_of('(filter (current-price) (select-bottom 2) [(asset "A") (asset "B")])') == bottom(
        2, "A", "B", by=Indicator.PRICE, window=1
    )
    assert tree_of('(filter (stdev-return 5) (select-top 1) (asset "A"))') == top(
        1, "A", by=Indicator.RETURN_DEVIATION, window=5
    )


def test_equal_parts_of_a_text_are_one_object():
    tree = tree_of(
        '(weight-equal [(if (> (rsi "A" {:window 5}) 1) [(asset "A" nil)] [(asset "B") (asset "C")])\n'
        '  (if (> (rsi "A" 5) 1.0) (asset "A" "Fund") [(asset "B"), (asset "C" nil)])\n'
        '  (filter (rsi 5) (select-top 1) [(weight-equal [(asset "A")])])\n'
        '  (filter (rsi 6) (select-top 1) [(weight-equal [(asset "\\u0041")])])])'
    )
    first, second, third, fourth = tree.children

    assert first is second
    assert third.candidates[0] is fourth.candidates[0]
    assert first.condition.left.subject is first.then


def test_options_may_be_left_out_and_name_no_calendar():
    assert read_symphony('(defsymphony "x" [(asset "A")])') == Symphony("x", Asset("A"))
    assert read_symphony('(defsymphony "x" {:rebalance-frequency :none} (asset "A"))').rebalance_frequency is None
    assert (
        read_symphony('(defsymphony "x" {:rebalance-frequency "weekly"} (asset "A"))').rebalance_frequency == "weekly"
    )


def test_names_may_hold_quotes_brackets_lines_and_signs():
    name = 'a "b" \\ [(;)] \n\t ☢️ \U0001d4e9 \x07'

    assert read_symphony(write_symphony(Symphony(name, group(name, "A")))) == Symphony(name, group(name, "A"))
    assert tree_of(r'(group "\u2622\ud835\udce9\/" [(asset "A")])').name == "☢\U0001d4e9/"


def test_a_byte_order_mark_is_passed_over():
    assert read_symphony('\ufeff(defsymphony "x" {} (asset "A"))').tree == Asset("A")


def test_a_symbol_that_looks_wrapped_stays_itself():
    odd = Symphony("x", Asset("EQUITIES::SPY//USD"))

    assert read_symphony(write_symphony(odd)) == odd


X = '(defsymphony "x" {} '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '1:1: expected (defsymphony "name" …), found the end of the text'),
        ("  ;nothing\n", '2:1: expected (defsymphony "name" …), found the end of the text'),
        ('(asset "A")', '1:1: expected (defsymphony "name" …), found (asset …)'),
        (X + '(asset "A"))\n (asset "B")', "2:2: expected the end of the text, found (asset …)"),
        ("(defsymphony)", "1:13: expected the symphony's name in quotes, found )"),
        ('(defsymphony " " {} (asset "A"))', '1:14: expected a name that is not blank, found " "'),
        ('(defsymphony "x" {})', "1:20: expected a block such as (asset …), (if …) or (weight-equal …), found )"),
        (X + '(asset "A") (asset "B"))', "1:33: expected ), found (asset …)"),
        (
            '(defsymphony "x" {:window 3} (asset "A"))',
            "1:19: expected one of :asset-class, :rebalance-frequency, :rebalance-threshold, found :window",
        ),
        ('(defsymphony "x" {:asset-class} (asset "A"))', "1:31: expected a value for :asset-class, found }"),
        ('(defsymphony "x" {:asset-class 3} (asset "A"))', "1:32: expected an asset class in quotes, found 3"),
        (
            '(defsymphony "x" {:rebalance-frequency 3} (asset "A"))',
            "1:40: expected one of :daily, :weekly, :monthly, :quarterly, :yearly, :none, found 3",
        ),
        (
            '(defsymphony "x" {:rebalance-threshold 1.5} (asset "A"))',
            "1:40: expected a fraction above 0 and at most 1, found 1.5",
        ),
        (
            '(defsymphony "x" {:asset-class "A" :asset-class "B"} (asset "A"))',
            "1:36: expected :asset-class once, found :asset-class",
        ),
        (X + '\n(weight-equal\n\t[(asset "A")', "3:14: expected ] to close the [ opened at 3:2, found the end"),
        (X + '(weight-equal [(asset "A")))', "1:47: expected ] to close the [ opened at 1:35, found )"),
        (X + '(asset "A")) ]', "1:34: expected an opening bracket before it, found ]"),
        (X + '(asset "A)) ', '1:28: expected a " that closes the string, found "A))'),
        (X + r'(asset "A\"))', r'1:28: expected a " that closes the string, found "A\"))'),
        (
            X + r'(asset "A\q"))',
            r"1:28: expected only the escapes \" \\ \/ \n \t \r \b \f \uXXXX in a string, found " + r'"A\q"',
        ),
        (
            X + r'(asset "\ud800"))',
            r"1:28: expected only the escapes \" \\ \/ \n \t \r \b \f \uXXXX in a string, found " + r'"\ud800"',
        ),
        (X + '(asset "A\x00"))', '1:28: expected text without the control character U+0000, found "A\\x00"'),
        (X + '(asset "A\ud800"))', '1:28: expected text without the control character U+D800, found "A\\ud800"'),
        (X + '(asset "A")) ; \x1b[2J', "1:34: expected text without the control character U+001B, found ; \\x1b[2J"),
        (X + "(asset SPY))", '1:28: expected known words, found SPY (in quotes, "SPY", if it is a ticker) at 1:28'),
        (X + "(asset))", "1:27: expected a ticker in quotes, found )"),
        (X + '(asset "A" 3))', "1:32: expected a name in quotes, nil or ), found 3"),
        (X + '(asset "A" nil nil))', "1:36: expected ), found nil"),
        (X + '(asset "A B"))', "1:21: a symbol is a word without spaces, was 'A B'"),
        (X + "(weight-equal []))", "1:36: expected a block such as (asset …), (if …) or (weight-equal …), found ]"),
        (X + "(weight-equal))", "1:34: expected blocks in [ ], found )"),
        (X + '(weight-equal "A"))', "1:35: expected a block such as (asset …)"),
        (
            X + '(weight-equal [(asset "A") (rsi 5)]))',
            "1:48: expected a block such as (asset …), (if …) or (weight-equal …), found (rsi …)",
        ),
        (X + "()", "1:23: expected ) to close the ( opened at 1:1, found the end of the text"),
        (X + "())", "1:22: expected a word such as weight-equal, found )"),
        (X + '("A"))', '1:22: expected a word such as weight-equal, found "A"'),
        (X + '[(asset "A") 5])', "1:34: expected a block such as (asset …), (if …) or (weight-equal …), found 5"),
        (
            X + '(weight-specified 0.5 (asset "A") 0.4 (asset "B")))',
            "1:21: specified weights must sum to 1, summed to 0.9: (0.5, 0.4)",
        ),
        (
            X + '(weight-specified 60 (asset "A") 40 (asset "B")))',
            "1:21: specified weights lie between 0 and 1, were (60.0, 40.0)",
        ),
        (X + "(weight-specified))", "1:38: expected a weight such as 0.25, found )"),
        (
            X + '(weight-specified 0.5 (asset "A") 0.5))',
            "1:58: expected a block such as (asset …), (if …) or (weight-equal …), found )",
        ),
        (X + '(weight-specified [60 40] [(asset "A") (asset "B")]))', "1:39: expected a weight such as 0.25, found ["),
        (X + '(weight-inverse-volatility [(asset "A")]))', "1:48: expected a window such as 14, found ["),
        (X + '(weight-inverse-volatility 0 [(asset "A")]))', "1:21: the window of sdret was 0: it must be at least 1"),
        (
            X + '(if (> (rsi "A" 5) 3) [(asset "A")]))',
            "1:56: expected a block to hold otherwise, such as [(asset …)], found )",
        ),
        (
            X + '(if (> (rsi "A" 5) 3) [(asset "A")] []))',
            "1:58: expected a block such as (asset …), (if …) or (weight-equal …), found ]",
        ),
        (X + '(if (asset "A") [] []))', "1:25: expected a condition such as (> … 79), (and …)"),
        (X + '(if (and) [(asset "A")] []))', "1:29: expected a condition such as (> … 79), (and …) or (or …), found )"),
        (
            X + '(if (> (rsi 5) 3) [(asset "A")] []))',
            '1:28: expected a number, or a reading such as (rsi "SPY" {:window 10}), found (rsi …)',
        ),
        (
            X + '(if (> (rsi "A" 5)) [(asset "A")] []))',
            '1:39: expected a number, or a reading such as (rsi "SPY" {:window 10}), found )',
        ),
        (X + '(if (> (rsi "A" 5) 1 2) [(asset "A")] []))', "1:42: expected ), found 2"),
        (X + '(if (> (rsi "A") 1) [(asset "A")] []))', "1:36: expected a window such as {:window 10}, found )"),
        (X + '(if (> (rsi "A" {}) 1) [(asset "A")] []))', "1:38: expected :window, found }"),
        (X + '(if (> (rsi "A" {:window nil}) 1) [] []))', "1:46: expected a window such as 10, found nil"),
        (X + '(if (> (rsi "A" {:window 2.5}) 1) [] []))', "1:46: expected a whole number up to 1,000,000, found 2.5"),
        (X + '(if (> (rsi "A" 1) 1) [] []))', "1:28: the window of rsi was 1: it must be at least 2"),
        (X + '(if (> (current-price "A" 10) 1) [] []))', "1:28: the window of price was 10"),
        (X + '(if (> (rsi (weight-equal [(asset "A")]) 5) 1) [] []))', "1:33: expected a ticker in quotes, a group"),
        (X + '(if (> (rsi "A" 5) 1e999) [] []))', "1:40: expected a number below 1e308, found 1e999"),
        (X + '(if (> (rsi "A" 5) NaN) [] []))', "1:40: expected known words, found NaN"),
        (X + "(filter (rsi 5) (select-top 1) []))", "1:53: expected a block such as (asset …)"),
        (X + "(filter (rsi 5) (select-top 1)))", "1:51: expected blocks in [ ], found )"),
        (X + '(filter (rsi 5) (select-top 0) [(asset "A")]))', "1:49: expected at least 1 to keep, found 0"),
        (X + '(filter (rsi 5) (select-top 1e7) [(asset "A")]))', "1:49: expected a whole number up to 1,0"),
        (X + '(filter (rsi 5) 1 [(asset "A")]))', "1:37: expected what to keep, such as (select-top 1), found 1"),
        (X + '(filter rsi (select-top 1) [(asset "A")]))', "1:29: expected what to rank by, such as (rsi"),
        (X + '(filter (rsi 1) (select-top 1) [(asset "A")]))', "1:29: the window of rsi was 1: it must be at least 2"),
        (X + '(group [(asset "A")]))', "1:28: expected the group's name in quotes, found ["),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, message):
    assert refusal_of(text).startswith(f"s.clj:{message}")


def test_all_unknown_words_are_listed_at_once():
    text = '(defsymphony "x" {:rebalance :often}\n (wieght-equal [(asset "A") (if (= (rsi "A" 5) 3)\n QQQ zzz)]))'

    assert refusal_of(text) == (
        "s.clj:1:19: expected known words, found :rebalance (did you mean :rebalance-threshold?) at 1:19, "
        ":often at 1:30, wieght-equal (did you mean weight-equal?) at 2:3, = (did you mean >=?) at 2:34, "
        'QQQ (in quotes, "QQQ", if it is a ticker) at 3:2, zzz at 3:6'
    )


def test_very_many_unknown_words_are_counted():
    message = refusal_of(X + "(" + " ".join(f"x{number}" for number in range(1_050)) + "))")

    assert message.endswith("1,000 more")
    assert len(message) < 5_000


def test_a_long_word_is_shown_cut_short():
    assert len(refusal_of("x" * 1_000_000)) < 200
    assert len(refusal_of(X + "(weight-specified " + '0.5 (asset "A") ' * 1_000 + "))")) < 400


def test_the_deepest_text_is_read_and_a_deeper_one_refused():
    assert write_symphony(read_symphony(nested(forms.MAX_DEPTH))).count("weight-equal") == forms.MAX_DEPTH - 1
    for deeper in (forms.MAX_DEPTH + 1, forms.MAX_DEPTH + 2):
        assert "expected at most 256 forms inside one another, found (" in refusal_of(nested(deeper))


@pytest.mark.unmeasured
@pytest.mark.parametrize("opening", ["(", "[", "{", "(if ", "[(or ", '("'])
def test_a_million_open_brackets_are_refused(opening):
    assert refusal_of(opening * 1_000_000).startswith("s.clj:1:")


@pytest.mark.parametrize("brackets", ["[]", "()", "{}"])
def test_very_deep_brackets_that_balance_are_refused(brackets):
    refusal_of(X + brackets[0] * 100_000 + brackets[1] * 100_000 + ")")


def test_too_many_assets_are_refused():
    assert refusal_of(X + '(asset "A")' * (forms.MAX_LEAVES + 1) + ")") == (
        "s.clj: expected at most 50,000 assets, found 50,001"
    )


def test_the_word_asset_in_names_counts_for_nothing():
    text = X + '(group "' + "asset " * (forms.MAX_LEAVES + 1) + '" [(asset "A")]))'

    assert read_symphony(text).tree.child == Asset("A")


def test_a_text_that_is_too_long_is_refused():
    assert refusal_of(" " * (forms.MAX_CHARACTERS + 1)) == (
        "s.clj: expected at most 10,000,000 characters, found 10,000,001"
    )


@pytest.mark.unmeasured
@pytest.mark.parametrize("filler", [" ", ",", '"', '\\"', '"\\', ";", ";\n", "(", "()", "[(a) ", '("', "a "])
def test_no_text_takes_much_longer_than_its_length(filler):
    # Quadratic time would keep this for hours.
    refusal_of('"\\"' + filler * (1_000_000 // len(filler)))
    refusal_of(filler * (1_000_000 // len(filler)))


def test_twenty_thousand_lines_are_read():
    conditions = [rsi(symbol, window) > level for symbol in "ABCDE" for window in range(2, 42) for level in range(20)]
    tree = equal(
        *(
            equal(if_(condition, equal("A", "B"), top(1, "C", "D", by=Indicator.RSI, window=9)))
            for condition in conditions
        )
    )
    symphony = Symphony("large", tree)
    text = write_symphony(symphony)

    assert text.count("\n") > 20_000
    assert text.count("(asset") > 10_000
    assert read_symphony(text) == symphony


def test_reading_leaves_the_collector_as_it_was():
    read_symphony(nested(3))
    assert gc.isenabled()
    gc.disable()
    try:
        read_symphony(nested(3))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_tree_that_could_not_be_read_again_is_not_written():
    deep, wide = Asset("A"), Asset("A")
    for _ in range(forms.MAX_DEPTH):
        deep = Equal((deep,))
    for _ in range(60):
        wide = Equal((wide, wide))
    long = Group("x" * forms.MAX_CHARACTERS, Asset("A"))

    for tree, message in [
        (deep, "at most 256 forms"),
        (wide, "at most 50,000 assets"),
        (long, "10,000,000 characters"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            write_symphony(Symphony("x", tree))
    with pytest.raises(InvalidInput, match="half characters"):
        write_symphony(Symphony("\ud800", Asset("A")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": " "}, "needs a name"),
        ({"rebalance_frequency": "hourly"}, "frequency is one of daily, weekly"),
        ({"rebalance_threshold": 0.0}, "fraction above 0"),
        ({"rebalance_threshold": math.nan}, "fraction above 0"),
    ],
)
def test_a_symphony_that_no_text_could_say_cannot_be_made(fields, message):
    with pytest.raises(InvalidInput, match=message):
        Symphony(**{"name": "x", "tree": Asset("A"), **fields})


def test_tokens_leave_out_white_space_commas_and_comments():
    assert tokens('(a, "b ;c" ; d\n [1.5])') == ["(", "a", '"b ;c"', "[", "1.5", "]", ")"]


def read_or_refused(text):
    try:
        symphony = read_symphony(text)
    except InvalidInput:
        return
    assert read_symphony(write_symphony(symphony)) == symphony


@given(st.text())
def test_any_text_is_read_or_refused(text):
    read_or_refused(text)


WORDS = [*forms.WORDS, *(f":{word}" for word in forms.KEYWORDS), "nil", '"A"', "5", "0.5", *"()[]{}"]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_words_in_a_symphony_are_read_or_refused(words):
    read_or_refused(f'(defsymphony "x" {{}} {words})')


@given(st.data())
def test_a_symphony_that_was_changed_is_read_or_refused(data):
    split = tokens(
        data.draw(st.sampled_from([TECL_BY_HAND, write_symphony(Symphony("n", STRATEGIES["nuclear"].tree))]))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(split)))
        split[start : start + data.draw(st.integers(0, 3))] = data.draw(st.lists(st.sampled_from(WORDS), max_size=3))

    read_or_refused(" ".join(split))


@given(trees(), st.sampled_from(["\n", ", ", " ; [(\n"]))
@settings(max_examples=50)
def test_white_space_and_comments_change_nothing(tree, between):
    symphony = Symphony("x", tree)

    assert read_symphony(between.join(tokens(write_symphony(symphony)))) == symphony

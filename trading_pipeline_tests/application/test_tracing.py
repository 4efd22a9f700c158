import pytest

from trading_pipeline.application.tracing import Noun, Origin, Step, the_one
from trading_pipeline.domain.errors import InvalidInput

KNOWN = ["20260731093100000::aacc0157", "20260731093100000::aadd0157", "20260730093100000::bbcc0157"]


def test_an_id_and_any_beginning_that_is_its_alone_are_understood():
    for asked in (KNOWN[2], "20260730", "bbcc", "b"):
        assert the_one(asked, KNOWN, "fill", "") == KNOWN[2]


def test_an_id_is_meant_where_it_begins_another():
    assert the_one("ab", ["abc", "ab"], "order", "") == "ab"


@pytest.mark.parametrize(
    ("asked", "known", "message"),
    [
        ("aa", KNOWN, r"2 fills begin with 'aa': 2026.*aacc0157, 2026.*aadd0157; give more of the id"),
        ("20260731093100000::aacc0158", KNOWN, r"did you mean 20260731093100000::aacc0157"),
        ("zz", KNOWN, r"no fill has the id 'zz'; the newest are 20260731093100000::aacc0157, .*\. do this"),
        ("zz", [], r"no fill has the id 'zz'; there is no fill at all\. do this"),
        ("", KNOWN, r"the newest are"),
        ("zz", [str(number) for number in range(30)], r"0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_could(asked, known, message):
    with pytest.raises(InvalidInput, match=message):
        the_one(asked, known, "fill", "do this")


def test_steps_are_walked_from_the_top_and_their_data_leaves_out_what_is_empty():
    step = Step(Noun.ORDER, "a", origin=Origin("orders", 3), below=(Step(Noun.PLAN, "b", (("kind", "rebalance"),)),))

    assert [each.title for each in step.walk()] == ["a", "b"]
    assert step.to_data() == {
        "step": "order",
        "title": "a",
        "origin": {"table": "orders", "table_version": 3},
        "below": [{"step": "plan", "title": "b", "facts": {"kind": "rebalance"}}],
    }

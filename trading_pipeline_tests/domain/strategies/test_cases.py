"""The built-in strategies on stated readings: every branch of every tree."""

import pytest

from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline_tests.domain.strategies import klm_530_cases, klm_cases, nuclear_cases, tecl_cases

CASES = {
    "nuclear": nuclear_cases.CASES,
    "tecl": tecl_cases.CASES,
    "klm": [*klm_cases.CASES, *klm_530_cases.CASES],
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_case_holds_what_the_definition_says(held_at_last, name):
    answers = [(readings, held_at_last(node, readings), expected) for node, readings, expected in CASES[name]]

    wrong = [answer for answer in answers if answer[1] != pytest.approx(answer[2])]
    assert wrong == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_leaf_is_reached_by_a_case(missed_leaves, name):
    cases = [(node, readings) for node, readings, _ in CASES.get(name, [])]

    assert missed_leaves(STRATEGIES[name].tree, cases) == []

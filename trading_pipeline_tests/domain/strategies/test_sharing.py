import functools
from datetime import date, timedelta

import numpy as np

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.evaluator import Evaluator
from trading_pipeline.domain.strategies.sharing import SharedTree
from trading_pipeline.domain.strategies.tree import Asset, equal, first_match, group, if_, readings, rsi, sdret, top

SYMBOLS = ("A", "B", "C")


def panel_of(node, length=60):
    generator = np.random.default_rng(7)
    closes = 100 * np.cumprod(1 + generator.normal(0, 0.02, (length, len(SYMBOLS))), axis=0)
    sessions = tuple(date(2024, 1, 1) + timedelta(days=n) for n in range(length))
    return IndicatorPanel.from_closes(ClosePanel(sessions, SYMBOLS, closes), readings(node))


def switch(threshold):
    return if_(rsi("A", 5) > threshold, "B", "C")


def test_what_is_said_twice_is_numbered_once():
    shared = SharedTree(equal(switch(50), group("again", switch(50)), switch(60)))

    kinds = [type(expression).__name__ for expression in shared.expressions]
    assert kinds.count("If") == 2
    assert kinds.count("Comparison") == 2
    assert kinds.count("Measure") == 1


def test_a_window_is_never_taken_for_a_number():
    tree = equal(*(if_(rsi("A", 5) > number, "B", "C") for number in range(12)))

    shared = SharedTree(tree)

    assert [type(expression).__name__ for expression in shared.expressions].count("Comparison") == 12


def test_parts_come_before_what_they_are_part_of():
    shared = SharedTree(
        first_match((rsi(group("G", switch(40)), 3) > 50, switch(50)), otherwise=equal("A", switch(60)))
    )

    assert shared.root == len(shared.expressions) - 1
    for number, below in enumerate(shared.children):
        assert all(child < number for child in below)


def test_a_block_of_many_variants_is_simulated_once():
    block = equal(switch(40), switch(50), switch(60))
    variants = [group(f"variant {n}", if_(rsi("C", 4) > n, block, "A")) for n in range(30)]
    tree = top(1, *variants, by=Indicator.RETURN_DEVIATION, window=5)
    earned = []

    class Counting(Evaluator):
        def _earned(self, node, at_hand):
            earned.append(node)
            return super()._earned(node, at_hand)

    Counting(tree, panel_of(tree)).holdings(tree)

    assert len(earned) == len(set(earned))
    assert sum(node == block for node in earned) == 1


def test_doubling_sixty_times_costs_sixty_nodes():
    tree = functools.reduce(lambda node, _: equal(node, node), range(60), switch(50))

    evaluation = evaluate(tree, panel_of(tree))

    np.testing.assert_allclose(evaluation.weights[10:].sum(axis=1), 1, rtol=0, atol=1e-9)
    assert evaluation.reason(0) == "rsi(A,5) is missing"


def test_a_tree_deeper_than_the_stack_is_evaluated():
    deep = functools.reduce(lambda node, n: if_(rsi("A", 5) > 200 + n, "B", node), range(5000), Asset("C"))
    series = functools.reduce(lambda node, _: equal(node), range(5000), Asset("C"))
    tree = if_(sdret(group("deep", series), 3) > -1, deep, "A")

    evaluation = evaluate(tree, panel_of(tree))

    assert evaluation.available.sum() == 55
    assert (evaluation.weights[5:, evaluation.symbols.index("C")] == 1).all()

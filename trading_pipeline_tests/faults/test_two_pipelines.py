import os
import random

import pytest

from trading_pipeline_tests.faults.cases import SHAPES
from trading_pipeline_tests.faults.trial import undisturbed, world
from trading_pipeline_tests.faults.wire import Rule

pytestmark = pytest.mark.unmeasured

MEETINGS = 50 if os.environ.get("FULL") else 6


@pytest.fixture(scope="module")
def peaces():
    return [undisturbed(shape) for shape in SHAPES]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(MEETINGS))
def test_two_pipelines_started_together_on_one_plan_place_one_set_of_orders(peaces, number):
    chosen, shape = random.Random(number), SHAPES[number % len(SHAPES)]  # noqa: S311 - a meeting must be repeatable
    with world(shape) as shared:
        if number % 2:
            # One of the two is held up where the other may overtake it.
            shared.proxy.arm(Rule("any", chosen.randint(1, 20), "slow"))

        both = [shared.launch(), shared.launch()]
        for launch in both:
            launch.wait()

        while not shared.run().is_done:
            assert shared.launches < 6, "it does not converge"
        verdict = shared.judged(peaces[number % len(SHAPES)])
        assert not verdict.violations, verdict.violations
        assert all(launch.process.exitcode == 0 for launch in both)


def test_a_pipeline_that_is_killed_beside_another_leaves_its_orders_to_that(peaces):
    with world(SHAPES[0]) as shared:
        stays, dies = shared.launch(), shared.launch()
        shared.proxy.arm(Rule("submit", 2, "kill after"))
        for launch in (dies, stays):
            launch.wait()

        while not shared.run().is_done:
            assert shared.launches < 6, "it does not converge"
        verdict = shared.judged(peaces[0])
        assert not verdict.violations, verdict.violations

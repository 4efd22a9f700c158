from collections import Counter
from dataclasses import dataclass

import pytest

from trading_pipeline_tests.faults.cases import SHAPES
from trading_pipeline_tests.faults.trial import Undisturbed, World, undisturbed, world

ROTATION, PAID_BY_SELLS, FIRST_BUYS = SHAPES


@dataclass(frozen=True)
class Trading:
    """A world in which single rows of the fault matrix are tried."""

    world: World
    peace: Undisturbed

    def posts(self) -> Counter[str]:
        """Return how often each order was sent."""
        return Counter(request.client_order_id for request in self.world.proxy.passed if request.kind == "submit")

    def finish(self) -> None:
        """Launch until every intent is over."""
        for _ in range(5):
            if self.world.run().is_done:
                return
        raise AssertionError("it does not converge")

    def assert_as_if_undisturbed(self) -> None:
        """Make sure that nobody can tell from the books, and that every order has its rows."""
        verdict = self.world.judged(self.peace)
        assert not verdict.violations, verdict.violations


@pytest.fixture(scope="session")
def peace():
    return undisturbed(FIRST_BUYS)


@pytest.fixture
def trading(peace):
    """A fresh account that is to make its first five buys."""
    with world(FIRST_BUYS) as opened:
        yield Trading(opened, peace)


@pytest.fixture
def trading_one_by_one(peace):
    """The same, with one order on its way at a time."""
    with world(FIRST_BUYS, orders_in_flight=1) as opened:
        yield Trading(opened, peace)

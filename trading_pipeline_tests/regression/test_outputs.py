"""What the built-in strategies hold over a fixed market, session by session, as it was accepted."""

from pathlib import Path

import pytest

from trading_pipeline.cli.fingerprint import changes, fixed_evaluation
from trading_pipeline.domain.strategies import STRATEGIES

RECORDS = Path(__file__).parent


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_holds_what_was_accepted(name):
    lines = changes(fixed_evaluation(STRATEGIES[name]), RECORDS / f"{name}.txt")

    if lines:
        accept = f"trading-pipeline fingerprint {name} --against trading_pipeline_tests/regression --accept"
        pytest.fail("\n".join([f"{name}:", *lines, "If that is meant, accept it:", accept]), pytrace=False)


def test_every_record_is_of_a_strategy():
    assert {path.stem for path in RECORDS.glob("*.txt")} <= set(STRATEGIES)

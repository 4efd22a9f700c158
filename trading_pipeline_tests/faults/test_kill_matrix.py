import os
import re

import pytest

from trading_pipeline_tests.faults import kill_matrix
from trading_pipeline_tests.faults.cases import SHAPES, AtRequest, Case, case, protocol_points
from trading_pipeline_tests.faults.kill_matrix import line, main, peace, run_numbered
from trading_pipeline_tests.faults.trial import Result, run_case
from trading_pipeline_tests.faults.verdict import Verdict
from trading_pipeline_tests.faults.wire import KILLS, Rule

pytestmark = pytest.mark.unmeasured

SEED = 20260724
A_SHARE = 8
SHARES = 60 if os.environ.get("FULL") else 5
FIRST_BUYS = SHAPES[2]


def test_every_kind_of_request_that_a_launch_makes_is_a_point_to_kill_at():
    made = {kind for found in peace().values() for kind in found.census.requests}

    assert made <= {point.kind for point in protocol_points()}


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_killed_anywhere_under_any_fault_every_intent_becomes_one_order(share):
    results = [run_numbered(SEED, number) for number in range(share * A_SHARE, (share + 1) * A_SHARE)]

    wrong = {result.case: result.verdict.violations for result in results if result.verdict.violations}
    assert not wrong, line(results)
    # A case kills twice on average; a share of eight may have less of them than all shares together.
    assert sum(result.kills for result in results) >= A_SHARE * 5 // 4


def test_ids_from_uuid_are_reported_as_duplicates():
    careless = Case(0, 0, FIRST_BUYS, (AtRequest("submit", 3, "kill after"),))

    verdict = run_case(careless, peace()[FIRST_BUYS.name], ids="uuid").verdict

    assert any("is not of the plan" in words for words in verdict.duplicates)
    assert any("held where" in words for words in verdict.lost)


def test_blind_retries_are_reported_as_duplicates():
    careless = Case(0, 0, FIRST_BUYS, faults=(Rule("submit", 1, "504 after"),))

    verdict = run_case(careless, peace()[FIRST_BUYS.name], blind_retries=True).verdict

    assert verdict.duplicates
    assert any("held where" in words for words in verdict.lost)


def test_a_case_is_a_function_of_its_seed_and_number():
    assert [case(3, number) for number in range(50)] == [case(3, number) for number in range(50)]
    assert case(3, 7) != case(4, 7)


def test_the_first_kills_of_a_full_run_go_through_every_point_of_the_protocol():
    chosen = {case(SEED, number).kills[0] for number in range(len(protocol_points()))}

    assert chosen == set(protocol_points())
    assert len(chosen) == len(KILLS) * sum(1 for point in protocol_points() if point.action == KILLS[0])


def test_one_line_says_it_all(capsys):
    assert main(["--cases", "2", "--seed", "3", "--workers", "1"]) == 0

    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"cases 2 kills \d+ duplicates 0 lost 0 unjournalled 0", last)


def test_a_violation_is_told_with_the_case_that_repeats_it_and_fails_the_run(capsys, monkeypatch):
    bad = Result(case(3, 5), 2, 4, 11.0, Verdict(("order x is not of the plan",), ("SPY is nowhere",), ("order x",)))
    monkeypatch.setattr(kill_matrix, "results_of", lambda *_: [bad])

    assert main(["--only", "5", "--seed", "3"]) == 1

    told = capsys.readouterr()
    assert told.out == "cases 1 kills 2 duplicates 1 lost 1 unjournalled 1\n"
    assert "seed 3 case 5: duplicate: order x is not of the plan" in told.err
    assert "seed 3 case 5 took 11 seconds" in told.err

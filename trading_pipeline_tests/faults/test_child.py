import json
import os
import sys
from dataclasses import replace

from trading_pipeline_tests.faults.child import write_job
from trading_pipeline_tests.processes import Started


def test_the_child_is_a_program_of_its_own_that_executes_the_stored_plan_and_prints_how_it_ended(trading, tmp_path):
    job = write_job(replace(trading.world.job, report=str(tmp_path / "report.json")), tmp_path / "job.json")

    done = Started(
        tmp_path, [sys.executable, "-m", "trading_pipeline_tests.faults.child", str(job)], dict(os.environ)
    ).finished()

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"error": "", "message": "", "open": 0}
    trading.assert_as_if_undisturbed()


def test_a_child_whose_broker_is_not_there_says_so_in_our_terms(trading):
    launch = trading.world.run(url="http://127.0.0.1:9")

    assert launch.outcome["error"] == "DependencyUnavailable"
    assert not launch.is_done
    trading.finish()
    trading.assert_as_if_undisturbed()

"""The kill and fault matrix at any size: ``python -m trading_pipeline_tests.faults.kill_matrix --cases N --seed S``.

The last line reads ``cases N kills N duplicates N lost N unjournalled N``; after a violation the program ends with 1.
A case is a function of seed and number, so ``--only NUMBER`` repeats one.
"""

import argparse
import functools
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from trading_pipeline_tests.faults.cases import SHAPES, case
from trading_pipeline_tests.faults.trial import Result, Undisturbed, run_case, undisturbed

WORKERS = 2
SLOW = 10


@functools.cache
def peace() -> Mapping[str, Undisturbed]:
    """Return how each shape's plan ends where nothing is disturbed."""
    return {shape.name: undisturbed(shape) for shape in SHAPES}


def run_numbered(seed: int, number: int) -> Result:
    """Run case ``number`` of ``seed``."""
    chosen = case(seed, number)
    return run_case(chosen, peace()[chosen.shape.name])


def line(results: Sequence[Result]) -> str:
    """Return the one line that says it all."""
    counts = {
        "cases": len(results),
        "kills": sum(result.kills for result in results),
        "duplicates": sum(len(result.verdict.duplicates) for result in results),
        "lost": sum(len(result.verdict.lost) for result in results),
        "unjournalled": sum(len(result.verdict.unjournalled) for result in results),
    }
    return " ".join(f"{name} {count}" for name, count in counts.items())


def results_of(seed: int, numbers: Sequence[int], workers: int) -> Iterator[Result]:
    """Run cases in so many processes; yield each as its turn comes."""
    # A worker starts afresh, so that it has a server of children and a simulator of its own.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(functools.partial(run_numbered, seed), numbers)


def told(results: Iterable[Result], total: int) -> Iterator[Result]:
    """Pass results on, saying on standard error how far things are and what is wrong."""
    began = time.monotonic()
    for done, result in enumerate(results, 1):
        for violation in result.verdict.violations:
            sys.stderr.write(f"seed {result.case.seed} case {result.case.number}: {violation}\n")
        if result.verdict.violations:
            sys.stderr.write(f"  it was {result.case}\n")
        if result.seconds > SLOW:
            sys.stderr.write(f"seed {result.case.seed} case {result.case.number} took {result.seconds:.0f} seconds\n")
        if done % 10 == 0 or done == total:
            sys.stderr.write(f"{done} of {total} cases, {time.monotonic() - began:.0f} seconds\n")
        yield result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="repeat this case alone")
    parser.add_argument("--workers", type=int, default=WORKERS)
    asked = parser.parse_args(arguments)
    numbers = range(asked.cases) if asked.only is None else [asked.only]
    results = list(told(results_of(asked.seed, numbers, min(asked.workers, len(numbers))), len(numbers)))
    sys.stdout.write(line(results) + "\n")
    return int(any(result.verdict.violations for result in results))


if __name__ == "__main__":
    raise SystemExit(main())

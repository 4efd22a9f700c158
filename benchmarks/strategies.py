"""What the strategies cost over history, beside TA-Lib's time for their readings and beside a naive evaluator.

Claims, process CPU time, medians of ``--rounds`` runs (default 9), sides in turn:

1. Nuclear, TECL and KLM over 2,500 sessions, from wide price arrays to wide
   weights, cost at most 40 times what TA-Lib alone takes for the readings that
   they use (its own functions, once a reading, on arrays without gaps).
2. They cost at least 100 times less than a naive evaluator (``naive.py``: one
   session and one node at a time over readings precomputed in a dictionary;
   the readings are precomputed for both). The naive time is **extrapolated**
   from ``--sample`` sessions spread over the range.
3. A symphony of 10,000 leaves over 2,500 sessions costs at least 500 times less
   than the naive evaluator, extrapolated likewise, and at 20 years of 300
   symbols its process stays within 2 GiB.

Equal results are asserted: on every sampled session both evaluators hold the
same weights to 1e-9, except where a ranking is decided by the last bits of two
deviations (variants that held the same), which is counted and printed. Pivoting
long bars, hashing and long output are printed
apart: they are part of no claim.

Run it: ``python benchmarks/strategies.py [--rounds 9] [--sample 25]``. Prices are
the generated market's, and a random walk for the large symphony.
"""

import argparse
import gc
import resource
import statistics
import subprocess
import sys
import time
from datetime import date

import numpy as np
import talib
from naive import NaiveEvaluator

from trading_pipeline.domain.bars import ClosePanel, close_panel
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.domain.signals import history_frame
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, tree
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.sharing import SharedTree
from trading_pipeline.domain.strategies.symphony_text import Symphony, read_symphony, write_symphony

SESSIONS = 2500
LAST = date(2026, 6, 30)
SEED = 7
LEAVES = 10_000
VARIANTS = 250
MOST_TIMES_TALIB = 40
LEAST_TIMES_NAIVE = 100
LEAST_TIMES_NAIVE_LARGE = 500
MOST_MEMORY = 2 * 2**30


def cpu(work, rounds):
    """Return what ``work`` answers and the CPU seconds of each round, after one that does not count."""
    answer = work()
    times = []
    for _ in range(rounds):
        gc.collect()
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return answer, times


def shown(name, times):
    middle = statistics.median(times) * 1000
    print(f"  {name:58} {middle:10.2f} ms   ({min(times) * 1000:.2f} to {max(times) * 1000:.2f})")
    return statistics.median(times)


def verdict(claim, ratio, *, holds):
    print(f"  {claim}: {ratio}  {'ok' if holds else 'MISSED'}")
    return holds


# --- the three strategies ---------------------------------------------------------------------------------------------


def generated_bars():
    from trading_pipeline.simulator.market import generated_bars

    symbols = {symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)}
    first = sessions_between(date(2010, 1, 4), LAST)[-SESSIONS]
    bars = generated_bars(SEED, LAST)
    bars = bars.rename(columns={"date": "session"})
    return bars[bars["symbol"].isin(symbols) & (bars["session"] >= first)]


def with_talib(closes, readings):
    """Compute each reading by TA-Lib's own functions on what there is of the symbol's closes."""
    answers = []
    for reading in readings:
        series = closes.column(reading.symbol)
        answers.append(TALIB[reading.indicator](series[~np.isnan(series)], reading.window))
    return answers


TALIB = {
    Indicator.RSI: talib.RSI,
    Indicator.PRICE: lambda closes, _: closes,
    Indicator.SMA: talib.SMA,
    Indicator.EMA: talib.EMA,
    Indicator.MEAN_RETURN: lambda closes, window: talib.SMA(talib.ROC(closes, 1), window),
    Indicator.CUMULATIVE_RETURN: talib.ROC,
    Indicator.RETURN_DEVIATION: lambda closes, window: talib.STDDEV(talib.ROC(closes, 1), window),
}


def built_in(rounds, sample):
    bars = generated_bars()
    days = sorted(set(bars["session"]))
    symbols = sorted(set(bars["symbol"]))
    closes, pivoting = cpu(lambda: close_panel(bars, symbols, days), 3)
    trees = [strategy.tree for strategy in STRATEGIES.values()]
    wanted = sorted({reading for node in trees for reading in tree.readings(node)})
    print(f"{', '.join(STRATEGIES)}: {len(days)} sessions, {len(symbols)} symbols, {len(wanted)} readings")

    def decided():
        panel = IndicatorPanel.from_closes(closes, wanted, Smoothing.WILDER)
        return panel, [evaluate(node, panel) for node in trees]

    ours, peer, alone = [], [], []
    for _ in range(rounds):
        (panel, evaluations), times = cpu(decided, 1)
        ours += times
        peer += cpu(lambda: with_talib(closes, wanted), 1)[1]
        alone += cpu(lambda: [evaluate(node, panel) for node in trees], 1)[1]  # noqa: B023 - called at once
    whole = shown("wide prices to wide weights", ours)
    evaluation = shown("  of which evaluation, readings at hand", alone)
    talibs = shown("TA-Lib alone, the readings they use", peer)
    shown("apart: long bars to wide prices", pivoting)
    shown("apart: hashing the readings", cpu(panel.fingerprint, 3)[1])
    shown("apart: long output", cpu(lambda: [history_frame(one, days[0], days[-1]) for one in evaluations], 3)[1])
    naive, checked = naively(trees, panel, evaluations, sample)
    print(f"  {'naive evaluator, extrapolated from ' + str(checked) + ' sessions':58} {naive * 1000:10.0f} ms")
    return [
        verdict(
            f"times TA-Lib (at most {MOST_TIMES_TALIB})",
            f"{whole / talibs:.1f}",
            holds=whole <= MOST_TIMES_TALIB * talibs,
        ),
        verdict(
            f"times cheaper than naive (at least {LEAST_TIMES_NAIVE})",
            f"{naive / evaluation:.0f}",
            holds=naive >= LEAST_TIMES_NAIVE * evaluation,
        ),
    ]


def naively(trees, panel, evaluations, sample):
    """Decide ``sample`` sessions naively, assert equal weights, and return the seconds for all sessions."""
    naive = NaiveEvaluator(panel)
    rows = np.linspace(0, len(panel.sessions) - 1, sample).astype(int)
    seconds, near = 0.0, 0
    for node, evaluation in zip(trees, evaluations, strict=True):
        for row in rows:
            naive.decided_by_rounding, before = False, time.process_time()
            answer = naive.decide(node, int(row))
            seconds += time.process_time() - before
            near += naive.decided_by_rounding
            assert (answer is None) == (not evaluation.available[row]), (row, answer, evaluation.reason(row))
            if answer is not None and not naive.decided_by_rounding:
                wanted = [answer.get(symbol, 0.0) for symbol in evaluation.symbols]
                np.testing.assert_allclose(evaluation.weights[row], wanted, rtol=0, atol=1e-9)
    if near:
        print(f"  {near} of {len(rows) * len(trees)} decisions rest on a ranking that rounding decides: not compared")
    return seconds / len(rows) * len(panel.sessions), len(rows)


# --- a symphony of 10,000 leaves --------------------------------------------------------------------------------------


def large_symphony(symbols, seed=SEED):
    """Return an ensemble as people build them: variants of shared blocks, ranked by their own deviation.

    250 variants of 40 leaves: a chain of overbought checks, dips to buy, then
    a switch between two rankings; chains, dips and rankings come from pools of
    40 each, thresholds differ from variant to variant. It is written as text
    and read again, as a symphony comes.
    """
    draw = np.random.default_rng(seed)

    def some(count):
        return [str(symbol) for symbol in draw.choice(symbols, count, replace=False)]

    def chain():
        return [(tree.rsi(symbol, 10) > float(draw.integers(75, 85)), some(1)[0]) for symbol in some(12)]

    def dips():
        return [(tree.rsi(symbol, 10) < float(draw.integers(25, 33)), symbol) for symbol in some(6)]

    def ranking(count):
        return tree.top(int(draw.integers(1, 3)), *some(count), by=Indicator.RSI, window=int(draw.integers(8, 14)))

    chains, all_dips = [chain() for _ in range(40)], [dips() for _ in range(40)]
    rankings = [ranking(8) for _ in range(40)]

    def picked(pool):
        return pool[int(draw.integers(len(pool)))]

    def variant(number):
        left, right = some(2)
        gate, side = some(2)
        switch = tree.if_(tree.rsi(left, 10) > tree.rsi(right, 10), picked(rankings), picked(rankings))
        calm = tree.if_(tree.cumret(gate, 20) > float(draw.integers(-9, 9)), switch, tree.equal(*some(5)))
        own = tree.if_(tree.price(side) > tree.sma(side, 50), calm, side)
        return tree.group(f"variant {number}", tree.first_match(*picked(chains), *picked(all_dips), otherwise=own))

    variants = [variant(number) for number in range(VARIANTS)]
    ensemble = tree.top(10, *variants, by=Indicator.RETURN_DEVIATION, window=5)
    return read_symphony(write_symphony(Symphony("large", ensemble))).tree


def leaves(node):
    counted = {}
    shared = SharedTree(node)
    for number, below in enumerate(shared.children):
        counted[number] = sum(counted[child] for child in below) if below else 1
    return counted[shared.root], sum(
        bool(below) or isinstance(one, tree.Asset)
        for one, below in zip(shared.expressions, shared.children, strict=True)
    )


def random_walk(count, sessions):
    moves = np.random.default_rng(SEED).normal(0.0003, 0.015, (sessions, count))
    prices = np.asfortranarray(100 * np.cumprod(1 + moves, axis=0))
    symbols = tuple(f"S{number:03}" for number in range(count))
    return ClosePanel(tuple(sessions_between(date(1990, 1, 2), LAST)[-sessions:]), symbols, prices)


def large(rounds, sample):
    closes = random_walk(60, SESSIONS)
    node = large_symphony(closes.symbols)
    count, distinct = leaves(node)
    panel = IndicatorPanel.from_closes(closes, tree.readings(node))
    print(
        f"a symphony of {count} leaves: {distinct} distinct nodes, {len(panel.readings)} readings, {SESSIONS} sessions"
    )
    assert count >= LEAVES
    evaluation, times = cpu(lambda: evaluate(node, panel), rounds)
    ours = shown("evaluation, readings at hand", times)
    naive, checked = naively([node], panel, [evaluation], sample)
    print(f"  {'naive evaluator, extrapolated from ' + str(checked) + ' sessions':58} {naive * 1000:10.0f} ms")
    memory = peak_memory()
    return [
        verdict(
            f"times cheaper than naive (at least {LEAST_TIMES_NAIVE_LARGE})",
            f"{naive / ours:.0f}",
            holds=naive >= LEAST_TIMES_NAIVE_LARGE * ours,
        ),
        verdict(
            "peak memory, 20 years x 300 symbols (at most 2048 MiB)",
            f"{memory / 2**20:.0f} MiB",
            holds=memory <= MOST_MEMORY,
        ),
    ]


def peak_memory():
    """Return the peak bytes of a process that evaluates the large symphony over 20 years of 300 symbols."""
    done = subprocess.run([sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True)
    return int(done.stdout)


def twenty_years():
    closes = random_walk(300, 20 * 252)
    node = large_symphony(closes.symbols)
    evaluate(node, IndicatorPanel.from_closes(closes, tree.readings(node)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sample", type=int, default=25, help="sessions that the naive evaluator decides")
    parser.add_argument("--memory", action="store_true", help="print the peak memory of the large symphony and end")
    chosen = parser.parse_args()
    if chosen.memory:
        twenty_years()
        return
    held = built_in(chosen.rounds, chosen.sample) + large(chosen.rounds, chosen.sample)
    raise SystemExit(0 if all(held) else 1)


if __name__ == "__main__":
    main()

"""What reading a symphony costs beside splitting its text into tokens.

Claim: reading a symphony of 20,000 lines takes at most 5 times the CPU time of
splitting the same text into tokens, the one pass of a compiled regular
expression with which reading begins.

Run it: ``python benchmarks/symphony_text.py [--rounds 31]``. Both sides run in
turn in one process; medians are compared. Two texts are read, both in
Composer's own layout: one of which most branches are copies of others, as in
the symphonies that people share, and one in which no two tests are alike.
The trees read are asserted equal to the trees written.
"""

import argparse
import random
import statistics
import sys
import time

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.symphony_text import Symphony, read_symphony, tokens, write_symphony
from trading_pipeline.domain.strategies.tree import Node, cumret, equal, group, if_, price, rsi, sma, specified, top

LINES = 20_000
CLAIM = 5.0
SYMBOLS = ("SPY", "QQQ", "TQQQ", "SQQQ", "TECL", "SOXL", "UVXY", "BIL", "TLT", "IEF", "GLD", "KMLM", "XLK", "BTAL")


def subtree(chance: random.Random, levels: int, thresholds: int) -> Node:
    """Return a random tree in the manner of shared symphonies: every block in a weight of its own."""
    if levels == 0:
        return leaf(chance)
    symbol, other = chance.sample(SYMBOLS, 2)
    threshold = 20 + 60 * chance.randrange(thresholds) / thresholds
    condition = chance.choice(
        [
            rsi(symbol, 10) > threshold,
            rsi(symbol, 10) < rsi(other, chance.choice((10, 20))),
            price(symbol) > sma(symbol, chance.choice((20, 200))),
            cumret(symbol, 60) < threshold - 50,
        ]
    )
    branches = [subtree(chance, levels - 1, thresholds) for _ in range(2)]
    block = equal(if_(condition, *branches))
    return group(f"{symbol} or {other}", block) if chance.random() < 0.1 else block


def leaf(chance: random.Random) -> Node:
    """Return what a branch ends in: most often one fund."""
    first, second, third = chance.sample(SYMBOLS, 3)
    ranked = equal(top(1, first, second, third, by=Indicator.RSI, window=chance.choice((10, 20))))
    return chance.choices([equal(first), ranked, specified((0.75, first), (0.25, second))], weights=[4, 1, 1])[0]


def text_of(thresholds: int) -> str:
    """Return a symphony's text of some ``LINES`` lines."""
    chance = random.Random(20260731)  # noqa: S311 - the same text every time
    parts: list[Node] = []
    while True:
        parts.append(subtree(chance, 8, thresholds))
        text = write_symphony(Symphony("benchmark", equal(*parts), "EQUITIES", "daily"))
        if text.count("\n") >= LINES:
            return text


def seconds(work, text: str) -> float:
    before = time.process_time()
    work(text)
    return time.process_time() - before


def ratio(name: str, text: str, rounds: int) -> float:
    """Measure both sides in turn, print them, and return the ratio of their medians."""
    times: dict[str, list[float]] = {"tokens": [], "read": []}
    for _ in range(rounds):
        times["tokens"].append(seconds(tokens, text))
        times["read"].append(seconds(read_symphony, text))
    found = statistics.median(times["read"]) / statistics.median(times["tokens"])
    size = f"{text.count(chr(10)):,} lines, {len(text):,} characters, {len(tokens(text)):,} tokens"
    print(f"{name}: {size}, {text.count('(asset'):,} assets")
    for side, measured in times.items():
        middle, low, high = (1000 * value for value in (statistics.median(measured), min(measured), max(measured)))
        print(f"  {side:6} {middle:7.1f} ms CPU (median of {rounds}; {low:.1f} to {high:.1f})")
    print(f"  ratio {found:.2f}, claimed at most {CLAIM:g}")
    return found


def main() -> None:
    """Measure both texts; leave with 1 where the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    texts = {"copied branches": text_of(thresholds=4), "no two tests alike": text_of(thresholds=10**9)}
    for text in texts.values():
        assert write_symphony(read_symphony(text)) == text
    ratios = [ratio(name, text, options.rounds) for name, text in texts.items()]
    sys.exit(int(max(ratios) > CLAIM))


if __name__ == "__main__":
    main()

"""Start the simulator: ``python -m trading_pipeline.simulator --state DIR``.

Prints one line, ``SIM READY http://127.0.0.1:PORT``, when it serves; logs to
stderr; ends on SIGTERM. What cannot work ends with one line on stderr and code 2.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.simulator.clock import MODES
from trading_pipeline.simulator.market import GENERATED
from trading_pipeline.simulator.process import Options, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    try:
        serve(_options(arguments))
    except InvalidInput as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m trading_pipeline.simulator", description="A simulated Alpaca on this machine only."
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    add("--state", type=Path, required=True, metavar="DIR", help="folder of the account, its orders and its clock")
    add("--bars", default=GENERATED, metavar="FILE|generated", help="Parquet or CSV bars to replay (default generated)")
    add("--seed", type=int, default=7, help="which of the generated markets (default 7)")
    add("--start", type=_instant, required=True, metavar="INSTANT", help="where the clock of a new state stands")
    add("--clock", choices=MODES, default=MODES[0], help="how time goes; the default moves only when it is told to")
    add("--factor", type=_positive, default=1.0, metavar="N", help="simulated seconds a second of a replay clock")
    add("--accounts", type=int, choices=range(1, 10), default=1, metavar="N", help="independent accounts (1 to 9)")
    add("--cash", type=_dollars, default=Decimal(100_000), help="dollars in the account of a new state")
    add(
        "--holding",
        type=_holding,
        action="append",
        default=[],
        metavar="SYMBOL=FRACTION",
        help="part of the cash of a new state that is in SYMBOL already, such as SPY=0.2; may be repeated",
    )
    add("--half-spread-bps", type=_dollars, default=Decimal(2), help="half the spread of quotes, basis points")
    add("--rate-limit", type=int, default=10_000, help="requests a minute of wall time (default 10000)")
    add("--key-id", default="", metavar="K", help="API key id; kept with the state, made up for a new one")
    add("--secret-key", default="", metavar="S", help="API secret key; kept with the state, made up for a new one")
    add("--watch-parent", action="store_true", help="end when the process that started this one ends")
    chosen = vars(parser.parse_args(arguments))
    holdings = dict(chosen.pop("holding"))
    if sum(holdings.values()) > 1:
        parser.error(f"--holding: the fractions sum to {sum(holdings.values())}, more than all the cash there is")
    return Options(**chosen, holdings=holdings)


def _holding(text: str) -> tuple[str, Decimal]:
    symbol, _, fraction = text.partition("=")
    if not symbol or not 0 <= _dollars(fraction) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a symbol and a fraction like SPY=0.2")
    return symbol, Decimal(fraction)


def _positive(text: str) -> float:
    factor = float(_dollars(text))
    if not factor:
        raise argparse.ArgumentTypeError(f"{text} must be more than zero")
    return factor


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not an instant like 2026-07-24T16:30-04:00") from None
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} needs its offset, as in 2026-07-24T16:30-04:00")
    return instant


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
    if not amount.is_finite() or amount < 0:
        raise argparse.ArgumentTypeError(f"{text} must be zero or more")
    return amount


if __name__ == "__main__":
    raise SystemExit(main())

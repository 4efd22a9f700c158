"""``trading-pipeline fingerprint``: whether strategies still hold what was accepted, over a fixed market."""

import shlex
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.domain.errors import InvalidInput

if TYPE_CHECKING:
    from trading_pipeline.domain.bars import ClosePanel
    from trading_pipeline.domain.strategies import Strategy
    from trading_pipeline.domain.strategies.evaluation import Evaluation

SEED = 7
FIRST, LAST = date(2020, 1, 2), date(2026, 6, 30)


def fingerprint(
    strategies: Annotated[
        list[str] | None,
        typer.Argument(metavar="STRATEGY", help="Names or files; all built-in ones by default."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Compare with the records in this folder, STRATEGY.txt each.")
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Write what is held now into the records.")] = False,  # noqa: FBT002 - typer makes a flag of it
) -> None:
    """Print a fingerprint of what each strategy holds over a fixed, generated market.

    With --against, compare with the records of a folder, show what changed and
    exit with 1 if anything did; with --accept as well, write the new records.
    """
    from trading_pipeline.adapters.symphony_files import strategy_of
    from trading_pipeline.domain.strategies import STRATEGIES

    if accept and against is None:
        raise InvalidInput("--accept was given without --against: name the folder of the records to write")
    chosen = {name: strategy_of(name) for name in strategies or STRATEGIES}
    changed = [name for name, one in chosen.items() if not _is_as_accepted(one, against, accept=accept)]
    if changed:
        arguments = shlex.join([*changed, "--against", str(against), "--accept"])
        typer.echo(f"to accept: trading-pipeline fingerprint {arguments}", err=True)
        raise typer.Exit(1)


def fixed_evaluation(strategy: "Strategy") -> "Evaluation":
    """Return what ``strategy`` holds over the fixed market: the generated one of seed 7, 2020-01-02 to 2026-06-30.

    A symbol that the generated market does not have is missing on every session.
    """
    from trading_pipeline.domain.readings import IndicatorPanel
    from trading_pipeline.domain.strategies import tree
    from trading_pipeline.domain.strategies.evaluation import evaluate

    closes = _fixed_closes(tree.symbols(strategy.tree))
    return evaluate(strategy.tree, IndicatorPanel.from_closes(closes, tree.readings(strategy.tree)))


def changes(evaluation: "Evaluation", path: Path) -> tuple[str, ...]:
    """Return, as lines, how ``evaluation`` differs from the record at ``path``: empty if it does not.

    A file that is not there or holds no record is a difference too, so that it can be accepted.

    Raises:
        InvalidInput: the file cannot be opened.
    """
    from trading_pipeline.research.fingerprints import Record, difference

    try:
        record = Record.from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return (f"there is no record {path}",)
    except (UnicodeDecodeError, InvalidInput) as error:
        return (f"{path} is not a record: {error}",)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error}): name a folder of records") from error
    return difference(record, evaluation)


def _fixed_closes(symbols: Sequence[str]) -> "ClosePanel":
    import numpy as np

    from trading_pipeline.domain.bars import ClosePanel
    from trading_pipeline.domain.sessions import sessions_between
    from trading_pipeline.simulator.market import CLOSE, GeneratedMarket

    market, days = GeneratedMarket(SEED, LAST), sessions_between(FIRST, LAST)
    stamps = np.array(days, dtype="datetime64[D]")
    closes = np.full((len(days), len(symbols)), np.nan, order="F")
    for column, symbol in enumerate(symbols):
        bars = market.bars(symbol, FIRST, LAST, adjusted_as_of=LAST)
        closes[np.searchsorted(stamps, bars.sessions), column] = bars.prices[:, CLOSE]
    return ClosePanel(tuple(days), tuple(symbols), closes)


def _is_as_accepted(strategy: "Strategy", folder: Path | None, *, accept: bool) -> bool:
    """Print the fingerprint and what changed; write the record if that is to be accepted."""
    from trading_pipeline.research.fingerprints import Record

    evaluation = fixed_evaluation(strategy)
    record = Record.of(evaluation)
    available = f"{int(evaluation.available.sum())} of {record.count} sessions available"
    typer.echo(f"{strategy.name} {record.fingerprint} ({available})")
    if folder is None:
        return True
    path = folder / f"{strategy.name}.txt"
    lines = changes(evaluation, path)
    for line in lines or ("unchanged",):
        typer.echo(f"  {line}")
    if lines and accept:
        _write(path, record.to_text())
        typer.echo(f"  accepted: {path}")
    return accept or not lines


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written ({error}): name a folder that can be") from error

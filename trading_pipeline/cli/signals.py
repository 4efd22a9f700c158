"""``trading-pipeline signals``: what a strategy held over history, from a file of bars, without Dagster."""

import os
from collections.abc import Callable, Mapping
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.smoothing import Smoothing

if TYPE_CHECKING:
    import pandas as pd


def signals(
    strategy: Annotated[str, typer.Argument(help="The strategy's name, such as nuclear or klm, or a symphony file.")],
    bars: Annotated[Path, typer.Option(help="Daily bars, Parquet or CSV.")],
    out: Annotated[Path, typer.Option(help="Where to write: a .parquet or a .csv file.")],
    from_: Annotated[str | None, typer.Option("--from", help="First session, YYYY-MM-DD; default: the first.")] = None,
    to: Annotated[str | None, typer.Option(help="Last session, YYYY-MM-DD; default: the last of the bars.")] = None,
    rsi_smoothing: Annotated[Smoothing, typer.Option(help="How the RSI averages.")] = Smoothing.WILDER,
    variants: Annotated[
        Path | None, typer.Option(help="Where to write what each variant of an ensemble held: .parquet or .csv.")
    ] = None,
) -> None:
    """Evaluate a strategy over history and write one row per session and symbol held.

    Columns: session, symbol, weight (fraction of the strategy's capital),
    status and reason. A session on which the strategy cannot be decided is one
    row with the reason, without symbol and weight.

    The file of variants has a row per session, variant and symbol, with the
    value that ranked the variant (such as sdret5), whether it was chosen, and
    the reason if it was left out.
    """
    from trading_pipeline.adapters.stored_bars import read_bars
    from trading_pipeline.adapters.symphony_files import strategy_of
    from trading_pipeline.application.signal_history import signal_history, variant_history
    from trading_pipeline.domain.strategies import tree

    _check_files(bars, out, variants)
    chosen = strategy_of(strategy)
    first, last = _bounds(from_, to)
    frame = read_bars(bars, symbols=tree.symbols(chosen.tree))
    tables = {out: signal_history(chosen, frame, first, last, rsi_smoothing)}
    if variants:
        tables[variants] = variant_history(chosen, frame, first, last, rsi_smoothing)
    for path, table in tables.items():
        _write(table, path)
    typer.echo(f"{chosen.name}: {_summary(tables[out])}, written to {' and '.join(map(str, tables))}", err=True)


def _check_files(bars: Path, out: Path, variants: Path | None) -> None:
    _check_suffix("--out", out)
    files = {"--bars": bars, "--out": out}
    if variants:
        _check_suffix("--variants", variants)
        files["--variants"] = variants
    for (one, path), (other, its) in combinations(files.items(), 2):
        # However a file is spelled, what is written would replace it.
        if path.resolve() == its.resolve():
            raise InvalidInput(f"{other} was {its}, and so was {one}: give each a file of its own")


def _check_suffix(option: str, path: Path) -> None:
    if path.suffix not in _WRITERS:
        raise InvalidInput(
            f"{option} was {path}: its name must end in {' or '.join(_WRITERS)}, which chooses the format"
        )


def _bounds(from_: str | None, to: str | None) -> tuple[date | None, date | None]:
    first, last = _day("--from", from_), _day("--to", to)
    if first and last and first > last:
        raise InvalidInput(f"--from was {first}, later than --to, {last}: give the earlier date first")
    return first, last


def _day(option: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise InvalidInput(f"{option} was {text!r} ({error}): give a day of the calendar as YYYY-MM-DD") from error


def _write_parquet(history: "pd.DataFrame", path: Path) -> None:
    history.to_parquet(path, index=False)


def _write_csv(history: "pd.DataFrame", path: Path) -> None:
    history.to_csv(path, index=False, lineterminator="\n")


_WRITERS: Mapping[str, Callable[["pd.DataFrame", Path], None]] = {".parquet": _write_parquet, ".csv": _write_csv}


def _write(table: "pd.DataFrame", out: Path) -> None:
    """Write beside ``out`` first, so that it holds either what it held or all of the new rows."""
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        _WRITERS[out.suffix](table, draft)
        draft.replace(out)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written ({error}): name a file in a folder that can be") from error
    finally:
        draft.unlink(missing_ok=True)


def _summary(history: "pd.DataFrame") -> str:
    by_session = history.drop_duplicates("session")
    missing = by_session["reason"].dropna()
    counts = f"{len(history)} rows, {len(by_session) - len(missing)} sessions available, {len(missing)} unavailable"
    if missing.empty:
        return counts
    often = missing.value_counts()
    return f"{counts} (most often, {often.iloc[0]} times: {often.index[0]})"

"""List what the tables promise, or check a file against a contract, without Dagster."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_like_checks.contract import Contract, InvalidContract, Severity, contract, load, tables

if TYPE_CHECKING:
    from dbt_like_checks.verification import Result

KEPT, BROKEN, UNUSABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 kept, 1 broken, 2 a contract, file or option cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return _list(options) if options.command == "list" else _check(options)
    except InvalidContract as problem:
        sys.stderr.write(f"{problem}\n")
        return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dbt_like_checks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="print what the tables promise")
    listing.add_argument("--table", help="this table only")
    check = commands.add_parser("check", help="check a Parquet or CSV file; 0 kept, 1 broken, 2 unusable")
    check.add_argument("contract", help="name of a table, or path of a contract in YAML")
    check.add_argument("file", type=Path)
    check.add_argument("--session", type=date.fromisoformat, help="the newest session that is expected, as 2026-07-31")
    check.add_argument(
        "--related", action="append", default=[], type=_related, metavar="TABLE=FILE", help="another table it refers to"
    )
    return parser


def _related(text: str) -> tuple[str, Path]:
    table, equals, file = text.partition("=")
    if not (table and equals and file):
        raise argparse.ArgumentTypeError(f"TABLE=FILE was wanted, as asset_catalog=catalog.parquet, was {text!r}")
    return table, Path(file)


def _list(options: argparse.Namespace) -> int:
    for table in [options.table] if options.table else tables():
        sys.stdout.write(_described(contract(table)))
    return KEPT


def _described(of: Contract) -> str:
    width = max(len(column.name) for column in of.columns)
    columns = [
        f"  {column.name:<{width}}  {column.type}{f', {column.unit}' if column.unit else ''}: {column.meaning}"
        for column in of.columns
    ]
    promises = [f"  [{promise.severity:<5}] {promise.name}: {promise.sentence}" for promise in of.promises]
    empty = "It may be empty." if of.may_be_empty else "It is never empty."
    head = f"{of.table}: {of.description} {of.grain[0].upper()}{of.grain[1:]}. {empty}"
    return "\n".join([head, *columns, " promises", *promises, "", ""])


def _check(options: argparse.Namespace) -> int:
    # Reading figures brings pandas and Pandera, which `list` need not wait for.
    from dbt_like_checks import table_files
    from dbt_like_checks.generic_tests import Context
    from dbt_like_checks.verification import Verdict, evaluate

    wanted = (
        load(Path(options.contract)) if options.contract.endswith((".yml", ".yaml")) else contract(options.contract)
    )
    try:
        frame = table_files.read(options.file, wanted)
        related = {table: table_files.read(path, contract(table)) for table, path in options.related}
    except table_files.UnreadableTable as problem:
        sys.stderr.write(f"{problem}\n")
        return UNUSABLE
    results = evaluate(frame, wanted, Context(options.session, related=related))
    broken = [result for result in results if result.verdict is Verdict.BROKEN and result.severity is Severity.ERROR]
    sys.stdout.write("".join(_reported(result) for result in results))
    sys.stdout.write(f"{wanted.table}: {len(frame)} rows, {len(broken)} broken promises of severity error\n")
    return BROKEN if broken else KEPT


def _reported(result: "Result") -> str:
    line = f"[{result.severity:<5}] {result.name}: {result.sentence}\n        {result.summary}\n"
    return line if result.sample.empty else f"{line}{result.sample.to_string()}\n"


if __name__ == "__main__":
    sys.exit(main())

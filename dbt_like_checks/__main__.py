"""List what the tables promise, check files or folders of tables against it, or make a page of it, without Dagster."""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_like_checks.contract import Contract, InvalidContract, Severity, contract, contract_kept_by, load, tables
from dbt_like_checks.findings import BROKEN, NOT_JUDGED, Finding, Findings, UnreadableFindings, read_findings
from dbt_like_checks.singular_tests import SingularTest, singular_on, singular_tests

if TYPE_CHECKING:
    from dbt_like_checks.verification import Result

KEPT_CODE, BROKEN_CODE, UNUSABLE_CODE = 0, 1, 2
TOLD_ROWS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 kept, 1 broken, 2 a contract, file or option cannot be used."""
    # Reading tables brings pandas, which the parser need not wait for.
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (InvalidContract, UnreadableFindings) as problem:
        sys.stderr.write(f"{problem}\n")
    except OSError as problem:
        sys.stderr.write(f"{problem.filename}: cannot be written: {problem.strerror}\n")
    return UNUSABLE_CODE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dbt_like_checks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("list", help="print what the tables promise")
    listing.add_argument("--table", help="this table only")
    check = commands.add_parser(
        "check",
        help="check a file, or a folder of tables; 0 kept, 1 broken, 2 unusable",
        description="check FOLDER checks every table in a folder: Delta Lake tables, and Parquet and CSV files named "
        "for their tables. check TABLE FILE checks one Parquet or CSV file.",
    )
    check.add_argument(
        "what", help="a folder of tables; or the name of a table or path of a contract in YAML, and FILE"
    )
    check.add_argument("file", type=Path, nargs="?", help="Parquet or CSV file of that table")
    page = commands.add_parser("docs", help="write one HTML page of all promises and their last results")
    page.add_argument("--out", type=Path, required=True, help="where to write it, as promises.html")
    results = page.add_mutually_exclusive_group()
    results.add_argument("--results", type=Path, help="what `check FOLDER --json` wrote")
    results.add_argument("--tables", type=Path, metavar="FOLDER", help="a folder of tables to check now")
    for command in (check, page):
        command.add_argument(
            "--session",
            type=date.fromisoformat,
            help="the newest session that is expected, as 2026-07-31; of a folder, by default the newest that is there",
        )
    check.add_argument("--json", action="store_true", help="of a folder: print all findings as JSON")
    check.add_argument("--strict", action="store_true", help="of a folder: what cannot be judged counts as broken")
    check.add_argument(
        "--related", action="append", default=[], type=_related, metavar="TABLE=FILE", help="another table it refers to"
    )
    for command, run in ((listing, _list), (check, _check), (page, _page)):
        command.add_argument("--singular", type=Path, metavar="FOLDER", help="a folder with SQL tests of your own")
        command.set_defaults(run=run)
    return parser


def _related(text: str) -> tuple[str, Path]:
    table, equals, file = text.partition("=")
    if not (table and equals and file):
        raise argparse.ArgumentTypeError(f"TABLE=FILE was wanted, as asset_catalog=catalog.parquet, was {text!r}")
    return table, Path(file)


def _singular(options: argparse.Namespace) -> tuple[SingularTest, ...]:
    """Return the tests that are built in and those of the folder, each looked at down to its columns."""
    from dbt_like_checks.sql_tables import refuse_wrong_body

    if options.singular is not None and not options.singular.is_dir():
        raise InvalidContract(f"{options.singular}: a folder with SQL tests was wanted")
    found = singular_tests() if options.singular is None else (*singular_tests(), *singular_tests(options.singular))
    for test in found:
        refuse_wrong_body(test)
    return found


def _list(options: argparse.Namespace) -> int:
    singular = _singular(options)
    for of in [_known(options.table)] if options.table else map(contract, tables()):
        sys.stdout.write(_described(of, singular_on(of.table, singular)))
    return KEPT_CODE


def _known(table: str) -> Contract:
    return contract_kept_by(table) or contract(table)


def _described(of: Contract, singular: Sequence[SingularTest]) -> str:
    width = max(len(column.name) for column in of.columns)
    columns = [
        f"  {column.name:<{width}}  {column.type}{f', {column.unit}' if column.unit else ''}: {column.meaning}"
        for column in of.columns
    ]
    promises = [f"  [{promise.severity:<5}] {promise.name}: {promise.sentence}" for promise in of.promises]
    across = [f"  [{test.severity:<5}] {test.name}: {test.sentence}" for test in singular]
    empty = "It may be empty." if of.may_be_empty else "It is never empty."
    head = f"{of.table}: {of.description} {of.grain[0].upper()}{of.grain[1:]}. {empty}"
    more = [" promises across tables", *across] if across else []
    return "\n".join([head, *columns, " promises", *promises, *more, "", ""])


def _check(options: argparse.Namespace) -> int:
    from dbt_like_checks.table_files import UnreadableTable

    try:
        return _check_folder(options) if options.file is None else _check_file(options)
    except UnreadableTable as problem:
        sys.stderr.write(f"{problem}\n")
        return UNUSABLE_CODE


def _check_file(options: argparse.Namespace) -> int:
    from dbt_like_checks import table_files
    from dbt_like_checks.generic_tests import Context
    from dbt_like_checks.sql_tables import evaluate_singular
    from dbt_like_checks.verification import evaluate

    wanted = load(Path(options.what)) if options.what.endswith((".yml", ".yaml")) else _known(options.what)
    frame = table_files.read(options.file, wanted)
    related = {table: table_files.read(path, contract(table)) for table, path in options.related}
    singular = singular_on(wanted.table, _singular(options)) if wanted.table in tables() else ()
    results = [
        *evaluate(frame, wanted, Context(options.session, related=related)),
        *evaluate_singular(singular, {**related, wanted.table: frame}),
    ]
    broken = [each for each in results if each.verdict == BROKEN and each.severity is Severity.ERROR]
    sys.stdout.write("".join(_reported(result) for result in results))
    sys.stdout.write(f"{wanted.table}: {len(frame)} rows, {len(broken)} broken promises of severity error\n")
    return BROKEN_CODE if broken else KEPT_CODE


def _reported(result: "Result") -> str:
    line = f"[{result.severity:<5}] {result.name}: {result.sentence}\n        {result.summary}\n"
    return line if result.sample.empty else f"{line}{result.sample.to_string()}\n"


def _check_folder(options: argparse.Namespace) -> int:
    findings = _checked(options, Path(options.what))
    sys.stdout.write(findings.to_json() if options.json else _told(findings))
    if findings.unreadable:
        return UNUSABLE_CODE
    return BROKEN_CODE if findings.failures(strict=options.strict) else KEPT_CODE


def _checked(options: argparse.Namespace, folder: Path) -> Findings:
    from dbt_like_checks.folder_check import checked

    return checked(folder, options.session, _now(), _singular(options), _say)


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")


def _say(text: str) -> None:
    # For whoever waits at a terminal; files and pipes hold results alone.
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _told(findings: Findings) -> str:
    _say("")
    broken = [_broken(each) for each in findings.found if each.verdict == BROKEN]
    unjudged: dict[tuple[str, str], int] = {}
    for each in findings.found:
        if each.verdict == NOT_JUDGED:
            unjudged[each.table, each.detail] = unjudged.get((each.table, each.detail), 0) + 1
    silent = [f"not judged: {table}, {count} promises: {why}" for (table, why), count in unjudged.items()]
    left_out = [f"left out: {name}: {why}" for name, why in findings.left_out.items()]
    return "\n".join([*broken, *silent, *left_out, _summary(findings), ""])


def _broken(finding: Finding) -> str:
    head = f"[{finding.severity:<5}] {finding.table}: {finding.promise}: {finding.sentence}\n        {finding.summary}"
    rows = [", ".join(f"{name} {value}" for name, value in row.items()) for row in finding.sample[:TOLD_ROWS]]
    return "\n".join([head, *(f"        {row}" for row in rows)])


def _summary(findings: Findings) -> str:
    names = {each.table for each in findings.found if each.checked_rows or each.verdict != NOT_JUDGED}
    of = f" of session {findings.session}" if findings.session else ""
    errors = len(findings.failures())
    return (
        f"{len(names)} tables{of}: {findings.count('kept')} promises kept, {findings.count(BROKEN)} broken "
        f"({errors} of severity error), {findings.count(NOT_JUDGED)} not judged"
    )


def _page(options: argparse.Namespace) -> int:
    from dbt_like_checks.promises_page import promises_page
    from dbt_like_checks.table_files import UnreadableTable

    try:
        results = _checked(options, options.tables) if options.tables else None
    except UnreadableTable as problem:
        sys.stderr.write(f"{problem}\n")
        return UNUSABLE_CODE
    if options.results:
        results = read_findings(options.results)
    page = promises_page([contract(table) for table in tables()], _singular(options), results)
    options.out.write_text(page, encoding="utf-8")
    _say("")
    sys.stdout.write(f"{options.out}: {len(tables())} tables\n")
    return KEPT_CODE


if __name__ == "__main__":
    sys.exit(main())

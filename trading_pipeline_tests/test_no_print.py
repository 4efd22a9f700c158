"""Nothing speaks past the log but the doors that a person reads, each known by name."""

import ast
from pathlib import Path

import pytest

import dbt_like_checks
import trading_pipeline

# Programs of their own, whose answer is what they write.
DOORS = {
    "trading_pipeline/adapters/alerting/console.py",
    "trading_pipeline/reporting/risk_limits_page.py",
    "trading_pipeline/simulator/process.py",
    "trading_pipeline/simulator/__main__.py",
    "dbt_like_checks/__main__.py",
}
PACKAGES = [Path(package.__file__).parent for package in (trading_pipeline, dbt_like_checks)]


def speaks(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "print" or called.startswith(("sys.stdout.write", "sys.stderr.write", "pprint")):
            yield node.lineno


@pytest.mark.parametrize("source", ["print(1)", "import sys\nsys.stdout.write('x')", "sys.stderr.write('x')"])
def test_what_is_looked_for_is_found(source):
    assert list(speaks(ast.parse(source)))


def test_nothing_prints_but_the_doors():
    found = {
        f"{path.relative_to(package.parent)}:{line}"
        for package in PACKAGES
        for path in package.rglob("*.py")
        for line in speaks(ast.parse(path.read_text(encoding="utf-8")))
    }

    assert {place.rpartition(":")[0] for place in found} <= DOORS, sorted(found)

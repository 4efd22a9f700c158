"""Whoever is woken by an alert finds in docs/operations.md what it means and what to do."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "trading_pipeline"
OPERATIONS = ROOT / "docs" / "operations.md"
PLACE_OF_RUNBOOK = 5
# These tell of nothing that a person must mend, or make alerts out of what is kept.
WITHOUT = {"defs/assets/daily_report.py", "adapters/alerting/ledger.py"}


def anchors(text):
    """Return the anchor of each heading, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]


def sources():
    for path in sorted(PACKAGE.rglob("*.py")):
        text = "" if "__pycache__" in path.parts else path.read_text(encoding="utf-8")
        if "Alert(" in text or "RUNBOOK" in text:
            yield path.relative_to(PACKAGE).as_posix(), text


def texts(node):
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def named_in(tree):
    """Yield every anchor that a module names: in a constant that says so, or where an alert is made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any("RUNBOOK" in ast.unparse(target) for target in node.targets):
            values = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
            for value in values:
                yield from texts(value)
        if is_alert(node) and (runbook := runbook_of(node)) is not None and isinstance(runbook, ast.Constant):
            yield runbook.value


def is_alert(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Alert"


def runbook_of(call):
    if len(call.args) > PLACE_OF_RUNBOOK:
        return call.args[PLACE_OF_RUNBOOK]
    return next((keyword.value for keyword in call.keywords if keyword.arg == "runbook"), None)


@pytest.fixture(scope="module")
def modules():
    return {name: ast.parse(text) for name, text in sources()}


def test_every_runbook_that_code_names_is_an_entry_of_the_operations_page(modules):
    named = {anchor: name for name, tree in modules.items() for anchor in named_in(tree)}

    assert len(named) >= 20
    missing = {anchor: name for anchor, name in named.items() if anchor not in anchors(OPERATIONS.read_text())}
    assert missing == {}, "add a heading to docs/operations.md that makes this anchor"


def test_no_two_entries_share_an_anchor():
    found = anchors(OPERATIONS.read_text())

    assert sorted(found) == sorted(set(found))


def test_every_alert_of_a_failure_names_its_runbook(modules):
    bare = {
        f"{name}:{node.lineno}"
        for name, tree in modules.items()
        if name not in WITHOUT
        for node in ast.walk(tree)
        if is_alert(node) and runbook_of(node) is None
    }

    assert bare == set(), "give it runbook=, the anchor of its entry in docs/operations.md"


def test_every_entry_says_what_to_do():
    text = OPERATIONS.read_text()
    entries = re.split(r"^### ", text.split("## What to know besides")[0], flags=re.MULTILINE)[1:]

    assert len(entries) >= 20
    assert [entry.splitlines()[0] for entry in entries if "**Do:**" not in entry] == []


def test_links_of_the_alert_pages_lead_somewhere():
    for page in (OPERATIONS, ROOT / "docs" / "alerts.md"):
        text = page.read_text()
        for target in re.findall(r"\]\(([^)]+)\)", text):
            name, _, anchor = target.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(linked.read_text()), f"{page.name}: {target}"


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Sell everything?", "sell-everything"),
        ("Trading only reduces: nobody acknowledged", "trading-only-reduces-nobody-acknowledged"),
        ("Market-wide breaker", "market-wide-breaker"),
        ("Runs of `decide`", "runs-of-decide"),
    ],
)
def test_an_anchor_is_what_github_makes_of_a_heading(heading, anchor):
    assert anchors(f"text\n### {heading}\ntext") == [anchor]

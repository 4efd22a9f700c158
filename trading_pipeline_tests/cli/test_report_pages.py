"""The live page as it is served, and the report that is made by hand, over the small account of the reports' tests."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from typer.testing import CliRunner

from trading_pipeline.adapters.storage.home import HOME_VARIABLE, home_of
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.cli.app import app
from trading_pipeline.cli.dashboard import desk_of, listening_at, served
from trading_pipeline.cli.workshop import Choice
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import next_session
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.reporting.report_files import report_path, write_page
from trading_pipeline.settings import ObservabilitySettings, Settings
from trading_pipeline_tests import browser
from trading_pipeline_tests.builders import make_intent, make_plan
from trading_pipeline_tests.reporting.session_tables import EXECUTION, SESSION, WRITTEN, Read, held
from trading_pipeline_tests.reporting.stored_world import fill_tables, stored_world


def asked(url, **headers):
    with requests.Session() as session:
        # A proxy of the environment must not stand between this machine and itself.
        session.trust_env = False
        return session.get(url, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def choice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    world = stored_world(folder)
    plan = make_plan(make_intent("GLD", quantity="8", plan_id=f"{SESSION}.1"), session=SESSION)
    world.journal.claim(plan, WRITTEN)
    write_page(report_path(world.home.folder, EXECUTION), "<html>the report</html>")
    return Choice(Settings(), world.home)


@pytest.fixture(scope="module")
def address(choice):
    with served(choice, 0) as url:
        yield url


def test_the_page_shows_the_account_and_its_orders_and_loads_nothing_from_elsewhere(address):
    answer = asked(address)
    shown = Read(answer.text)

    assert answer.status_code == 200
    assert shown.headings[:2] == ["Trading now", "Orders of the plan"]
    assert shown.tile("Equity")[0] == "$15,121.75"
    assert "Plan 2026-07-30.1: 1 planned." in shown.paragraphs
    assert shown.column("Targets and holdings", "Symbol")[-1] == "cash"
    assert shown.fetched == []


def test_its_only_script_is_the_one_that_the_policy_names(address):
    first, second = asked(address), asked(address)
    [nonce] = re.findall(r'<script nonce="([^"]+)"', first.text)

    assert f"script-src 'nonce-{nonce}'" in first.headers["content-security-policy"]
    assert "default-src 'none'" in first.headers["content-security-policy"]
    assert nonce not in second.text
    assert first.headers["cache-control"] == "no-store"


def test_the_fragment_is_the_page_without_its_frame(address):
    answer = asked(f"{address}/fragment")

    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert Read(answer.text).headings[0] == "Trading now"


def test_names_of_elsewhere_are_refused(address):
    assert asked(f"{address}/fragment", Host="evil.example").status_code == 400


@pytest.mark.parametrize(
    "name", ["2026-07-30.html", "notes.html", "..%2F..%2Fjournal.sqlite", "%2e%2e", "2026-07-31.html.bak"]
)
def test_only_reports_that_are_there_are_served(address, name):
    assert asked(f"{address}/reports/{name}").status_code == 404


def test_a_report_is_served_as_it_was_written(address):
    assert asked(f"{address}/reports/{EXECUTION}.html").text == "<html>the report</html>"


def test_health_answers_beside_it(address):
    assert set(asked(f"{address}/health").json()) == {"at", "level", "parts"}


def test_many_who_look_at_once_are_all_answered(address):
    with ThreadPoolExecutor(8) as looking:
        answers = list(looking.map(lambda _: asked(f"{address}/fragment").status_code, range(24)))

    assert answers == [200] * 24


def test_tables_are_read_again_only_where_they_changed(tmp_path, monkeypatch):
    world = stored_world(tmp_path)
    desk, read = desk_of(Choice(Settings(), world.home)), []
    plain = DeltaTables.read
    monkeypatch.setattr(DeltaTables, "read", lambda self, name, *rest: read.append(name) or plain(self, name, *rest))

    desk.document()
    first, read[:] = set(read), []
    desk.document()
    again, read[:] = list(read), []
    fill_tables(world, {"data_freshness": []})
    snapshot = [held(SESSION, "CASH", "99", "1", "99")]
    fill_tables(world, {"portfolio_snapshot": snapshot})
    tiles = {tile.label: tile.value for tile in desk.document().tiles}

    assert {"portfolio_snapshot", "fills", "performance", "data_freshness"} <= first
    assert again == []
    assert "portfolio_snapshot" in read
    assert "risk_report" not in read
    assert tiles["Orders"] == "2"


def test_alerts_wait_for_somebodys_word_unless_they_only_inform(tmp_path):
    world = stored_world(tmp_path)
    for severity in Severity:
        world.notifier.notify(Alert(severity.value, severity, f"An alert, {severity}", "", WRITTEN))
    world.notifier.acknowledge(["warning"], "ann")

    shown = desk_of(Choice(Settings(), world.home)).document()

    [section] = [part for part in shown.sections if part.anchor == "alerts"]
    assert [row[3].text for row in section.tables[0].rows] == ["critical"]


def test_neutral_mode_hides_symbols_and_amounts_in_the_page_and_in_older_reports(tmp_path):
    settings = Settings(observability=ObservabilitySettings(neutral=True))
    world = stored_world(tmp_path, settings)
    write_page(report_path(world.home.folder, EXECUTION), "<html><p>6 SPY for $3,024.00</p></html>")

    with served(Choice(settings, world.home), 0) as url:
        texts = [asked(f"{url}/{part}").text for part in ("", "fragment", f"reports/{EXECUTION}.html")]

    for text in texts:
        assert not any(secret in text for secret in ("SPY", "GLD", "TQQQ", "15,121", "3,024"))
    assert "setInterval(refresh, 5000)" in texts[0], "the page still works"


def test_a_folder_without_anything_is_served_in_words(tmp_path):
    with served(Choice(Settings(), home_of(Settings(), tmp_path)), 0) as url:
        shown = Read(asked(url).text)

    assert "No session was decided yet" in shown.paragraphs


def test_a_table_that_cannot_be_read_is_said_and_nothing_is_shown_for_it(tmp_path):
    world = stored_world(tmp_path)
    for log in (world.home.tables / "portfolio_snapshot" / "_delta_log").iterdir():
        log.write_text("broken")

    with served(Choice(Settings(), world.home), 0) as url:
        page, part = asked(url), asked(f"{url}/fragment")

    assert part.status_code == 503
    assert "portfolio_snapshot" in part.text
    assert "Nothing can be shown" in page.text
    assert "$" not in part.text


def test_a_port_that_is_taken_is_named_with_what_to_do():
    with listening_at(0) as taken, pytest.raises(InvalidInput, match=r"reports\.live_port"):
        listening_at(taken.getsockname()[1])


def test_the_page_refreshes_itself_in_a_browser(choice, address, tmp_path):
    why_not = browser.hindrance(tmp_path / "probe")
    if why_not:
        pytest.skip(why_not)
    with browser.opened_page(f"{address}/", tmp_path / "profile") as page:
        assert "Trading now" in page.text_with("Up to date at")
        fill_tables(stored_world_of(choice), {"allocation": [ALLOCATED]})
        assert "NEWSYM" in page.text_with("NEWSYM")


ALLOCATED = {"session": SESSION, "symbol": "NEWSYM", "strategy": "nuclear", "weight": 1.0, "status": "decided"}


def stored_world_of(choice):
    from trading_pipeline.defs.resources import TradingWorld

    return TradingWorld(choice.settings, choice.home)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run a command in this process, in a folder of its own."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


def test_the_report_of_the_newest_session_is_written_by_hand(command, tmp_path):
    world = stored_world(tmp_path)
    done = command("report")
    path = report_path(world.home.folder, EXECUTION)

    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(path)
    assert Read(path.read_text(encoding="utf-8")).headings[0] == f"Session {EXECUTION}"


def test_the_report_of_any_session_goes_where_it_is_wanted(command, tmp_path):
    stored_world(tmp_path)
    done = command("report", SESSION, "--out", tmp_path / "page.html")
    shown = Read((tmp_path / "page.html").read_text(encoding="utf-8"))

    assert done.exit_code == 0, done.output
    assert shown.headings[0] == f"Session {SESSION}"
    assert shown.tile("Profit")[0] == "+$109.50", "the close of the session is known by now"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["2026-07-04"], "not a session"),
        (["yesterday"], "must be a date"),
        (["--home", "nowhere"], "nothing ran here"),
        (
            ["2026-06-30", "--out", "page.html"],
            "nothing is recorded of session 2026-06-30, so that no page was written",
        ),
    ],
)
def test_what_cannot_be_reported_is_refused_with_what_to_do(command, tmp_path, monkeypatch, arguments, said):
    stored_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = command("report", *arguments)

    assert isinstance(done.exception, InvalidInput)
    assert said in str(done.exception)


def test_a_session_that_was_only_decided_leads_to_the_page_of_the_next(command, tmp_path):
    world = stored_world(tmp_path)
    first = world.tables.read("portfolio_snapshot")["session"].min()

    done = command("report", first)

    assert done.exit_code == 1
    assert str(done.exception).endswith(
        f"is on the page of {next_session(first)}: trading-pipeline report {next_session(first)}"
    )
    assert not list(tmp_path.rglob("*.html"))

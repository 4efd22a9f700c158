"""Every fill of a real run is explained and its decision made again; what somebody altered by hand is named."""

import json
import os
import re
import shutil
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from deltalake import DeltaTable
from typer.testing import CliRunner

from trading_pipeline.adapters.storage.home import Home, home_of
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application import planning
from trading_pipeline.application.replay import Verdict
from trading_pipeline.application.tracing import Noun
from trading_pipeline.cli import console
from trading_pipeline.cli.explain import explain
from trading_pipeline.cli.explain_traces import Archive
from trading_pipeline.cli.workshop import Choice
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.settings import Settings

DECIDED_ON = date(2026, 7, 30)
FROM_FILL_TO_PLAN = [Noun.FILL, Noun.ORDER, Noun.RISK_DECISION, Noun.PLAN, Noun.PORTFOLIO, Noun.ALLOCATION]
FROM_SIGNAL_TO_BARS = [Noun.SIGNAL, Noun.READINGS, Noun.BARS]
RECORDED = {Noun.FILL, Noun.ORDER, Noun.RISK_DECISION, Noun.PLAN, Noun.ALLOCATION, Noun.SIGNAL}
AGAIN = ["bars", "indicators", "nuclear_signal", "tecl_signal", "klm_signal", "allocation", "orders", "risk decisions"]


@pytest.fixture(scope="module")
def clean():
    """Nothing of this process's settings, for as long as the module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("TRADING_", "APCA_", "DAGSTER_")):
                patch.delenv(name)
        yield


def opened(root: Path) -> Archive:
    return Archive(Choice(Settings(), home_of(Settings(), root)))


@pytest.fixture(scope="module")
def archive(traded, clean):
    return opened(traded)


@pytest.fixture(scope="module")
def fills(archive):
    return archive.records.tables.read("fills").to_dict("records")


@pytest.fixture
def copied(traded, clean, tmp_path):
    """A copy of the folder that a test may spoil, without Dagster's record."""
    [folder] = traded.glob("simulated-*")
    shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("simulator", "dagster"))
    return opened(tmp_path)


def reopened(archive: Archive) -> Archive:
    """Look again: what was read is read anew."""
    return opened(archive.choice.home.folder.parent)


def tables_of(archive: Archive) -> DeltaTables:
    return DeltaTables(str(archive.choice.home.tables))


def run(home: Path, *arguments):
    app = typer.Typer()
    app.add_typer(explain, name="explain")
    return CliRunner().invoke(app, ["explain", *map(str, arguments), "--home", str(home)])


@pytest.fixture
def elsewhere(monkeypatch):
    """What commands put into the environment is taken out again."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_every_fill_leads_back_to_the_bars(archive, fills):
    assert fills
    for fill in fills:
        step, plan = archive.explainer.fill(fill["execution_id"])
        steps = list(step.walk())

        assert [each.noun for each in steps[: len(FROM_FILL_TO_PLAN)]] == FROM_FILL_TO_PLAN
        behind = [each.noun for each in steps[len(FROM_FILL_TO_PLAN) :]]
        assert behind
        assert behind == FROM_SIGNAL_TO_BARS * (len(behind) // len(FROM_SIGNAL_TO_BARS))
        assert fill["client_order_id"] in steps[1].title
        assert steps[2].title in {"approved", "reduced"}
        assert steps[3].title == plan.plan_id == fill["plan_id"]
        assert all(each.rationale.session == fill["session"] for each in steps if each.noun is Noun.SIGNAL)


def test_every_step_names_version_run_code_settings_and_audit_records(archive, fills):
    known = {run.run_id for run in archive.records.runs._instance.get_runs()}
    for fill in fills:
        step, plan = archive.explainer.fill(fill["execution_id"])
        lineage = {entry.asset: entry for entry in plan.lineage}
        for each in step.walk():
            origin = each.origin
            assert origin.run_id in known, each.title
            assert (origin.code_version, origin.config_hash) == (plan.code_version, plan.config_hash)
            assert origin.at is not None or each.noun is Noun.ORDER
            if each.noun not in {Noun.ORDER, Noun.PLAN}:
                assert 0 <= origin.version <= tables_of(archive).version(origin.table)
            if each.noun in RECORDED:
                assert origin.audit, each.title
            if origin.table in lineage:
                assert origin.run_id == lineage[origin.table].run_id
                assert origin.version == lineage[origin.table].table_version


def test_the_figures_of_an_explanation_are_those_of_the_tables(archive, fills):
    fill = next(each for each in fills if each["side"] == "buy")
    steps = list(archive.explainer.fill(fill["execution_id"])[0].walk())
    bars = next(each for each in steps if each.noun is Noun.BARS)
    allocation = next(each for each in steps if each.noun is Noun.ALLOCATION)

    stored = tables_of(archive).read("bars", version=bars.origin.version).set_index(["symbol", "session"])["close"]
    for symbol, first, last, count, missing, close in bars.grid.rows:
        own = stored[symbol].loc[date.fromisoformat(first) : date.fromisoformat(last)]
        assert int(count) == len(own)
        assert int(count) + int(missing) == len(sessions_between(date.fromisoformat(first), date.fromisoformat(last)))
        assert float(close) == pytest.approx(own.iloc[-1], rel=1e-9)
    weights = tables_of(archive).read("allocation", fill["session"], fill["session"])
    wanted = weights[weights["symbol"] == fill["symbol"]]
    assert [row[1] for row in allocation.grid.rows] == wanted["strategy"].tolist()
    shown = sum(float(row[2].rstrip("%")) for row in allocation.grid.rows)
    assert shown == pytest.approx(100 * wanted["weight"].sum(), abs=0.01)


def test_every_decision_made_again_is_equal_at_every_step(archive, fills):
    plans = {fill["plan_id"]: fill["execution_id"] for fill in fills}
    for execution_id in plans.values():
        _, plan = archive.explainer.fill(execution_id)

        again = archive.replayer.replay(archive.records.chain_of(plan))

        assert [step.step for step in again.steps] == AGAIN
        assert {step.step: step.verdict for step in again.steps} == dict.fromkeys(AGAIN, Verdict.EQUAL)
        assert again.is_equal
        assert not again.altered


def decision(archive: Archive):
    step, chain = archive.explainer.allocation(DECIDED_ON)
    assert step.noun is Noun.ALLOCATION
    return chain


def altered_in_a_new_version(tables: DeltaTables, version: int) -> float:
    bar = tables.read("bars", DECIDED_ON, DECIDED_ON, version).query("symbol == 'SPY'")
    tables.upsert("bars", bar.assign(close=bar["close"] * 1.01))
    return float(bar["close"].iloc[0])


def altered_in_its_file(tables: DeltaTables, version: int) -> float:
    """Write a file of that very version again, with one close altered; Delta's log stays as it is."""
    for uri in DeltaTable(f"{tables.root}/bars", version=version).file_uris():
        path = Path(uri)
        rows = pq.read_table(path, partitioning=None)
        frame = rows.to_pandas()
        place = frame.index[(frame["symbol"] == "SPY") & (frame["session"] == DECIDED_ON)]
        if len(place):
            before = float(frame.loc[place[0], "close"])
            frame.loc[place, "close"] *= 1.01
            pq.write_table(pa.Table.from_pandas(frame, schema=rows.schema, preserve_index=False), path)
            return before
    raise AssertionError("no file holds the bar")


def altered_with_its_log(tables: DeltaTables, version: int) -> float:
    """Do so and make Delta's log fit, so that the table reads as if nothing had happened."""
    folder = Path(tables.root) / "bars"
    lengths = {path.name: path.stat().st_size for path in folder.rglob("*.parquet")}
    before = altered_in_its_file(tables, version)
    [name] = [path.name for path in folder.rglob("*.parquet") if path.stat().st_size != lengths.get(path.name)]
    [path] = folder.rglob(name)
    for log in (folder / "_delta_log").glob("*.json"):
        text = log.read_text()
        if name in text:
            log.write_text(text.replace(f'"size":{lengths[name]}', f'"size":{path.stat().st_size}'))
    assert len(tables.read("bars", DECIDED_ON, DECIDED_ON, version))
    return before


@pytest.mark.parametrize("alter", [altered_in_a_new_version, altered_in_its_file, altered_with_its_log])
def test_one_bar_that_is_altered_by_hand_is_named(copied, alter):
    before = alter(tables_of(copied), decision(copied).version("bars"))
    looking = reopened(copied)
    again = looking.replayer.replay(decision(looking))

    [found] = again.altered
    assert (found.symbol, found.session, found.column) == ("SPY", DECIDED_ON, "close")
    assert (found.recorded, found.found) == (before, pytest.approx(before * 1.01))
    assert not again.is_equal
    verdicts = {step.step: step.verdict for step in again.steps}
    assert verdicts["bars"] is Verdict.DIFFERS
    # Another version leaves what decided as it was; a file of that version does not.
    expected = Verdict.EQUAL if alter is altered_in_a_new_version else Verdict.DIFFERS
    assert verdicts["indicators"] is expected
    assert "from the bars as they were recorded the decision is equal at every step" in again.notes


def test_a_file_that_is_gone_leaves_bars_that_are_named_as_gone(copied):
    chain, tables = decision(copied), tables_of(copied)
    [uri, *_] = [
        uri
        for uri in DeltaTable(f"{tables.root}/bars", version=chain.version("bars")).file_uris()
        if DECIDED_ON in set(pq.read_table(uri, partitioning=None)["session"].to_pylist())
    ]
    gone = pq.read_table(uri, partitioning=None).num_rows
    Path(uri).unlink()
    looking = reopened(copied)

    again = looking.replayer.replay(decision(looking))

    assert len(again.altered) == gone
    assert all("the bar is gone" in str(each) for each in again.altered)


def test_a_reading_that_is_altered_by_hand_is_named_and_no_bar_is(copied):
    chain, tables = decision(copied), tables_of(copied)
    stored = tables.read("indicators", DECIDED_ON, DECIDED_ON)
    place = stored.index[(stored["symbol"] == "SPY") & (stored["indicator"] == "price")][-1]
    stored.loc[place, "value"] += 1
    version = tables.replace_session("indicators", DECIDED_ON, stored)
    # As if that version were the one that the plan names.
    entries = {**chain.entries, "indicators": replace(chain.entries["indicators"], table_version=version)}

    again = copied.replayer.replay(replace(chain, entries=entries))

    assert not again.altered
    differing = [step for step in again.steps if step.verdict is Verdict.DIFFERS]
    assert [step.step for step in differing] == ["indicators"]
    assert differing[0].differences[0].startswith(f"price(SPY) of {DECIDED_ON}: recorded ")


HALTED, SALE, WEIGHT = "SYMBOL_HALTED SPY", "WASH_SALE 12 > 0", "POSITION_WEIGHT 0.5 > 0.4"
ZERO = Decimal(0)


@pytest.mark.parametrize(
    ("recorded", "verdict"),
    [
        ({"decision": "denied", "quantity": ZERO, "breaches": (HALTED,)}, Verdict.UNKNOWN),
        ({"decision": "denied", "quantity": ZERO, "warnings": (SALE,)}, Verdict.DIFFERS),
        ({"quantity": Decimal(500), "warnings": (SALE,)}, Verdict.DIFFERS),
        ({"breaches": (WEIGHT,), "warnings": (SALE,)}, Verdict.DIFFERS),
        ({"warnings": (SALE,)}, Verdict.UNKNOWN),
        ({"warnings": (SALE, WEIGHT)}, Verdict.DIFFERS),
    ],
)
def test_only_what_the_broker_said_of_it_explains_a_risk_decision_that_differs(archive, recorded, verdict):
    assert verdict_on(archive, recorded) is verdict


@pytest.mark.parametrize("same", [{"breaches": (HALTED,)}, {"warnings": (SALE,)}])
def test_what_is_said_now_too_explains_no_difference(archive, monkeypatch, same):
    made = planning.archived
    monkeypatch.setattr(planning, "archived", lambda decisions: tuple(replace(one, **same) for one in made(decisions)))

    assert verdict_on(archive, same, every=same) is Verdict.EQUAL
    assert verdict_on(archive, {**same, "quantity": Decimal(500)}, every=same) is Verdict.DIFFERS


def verdict_on(archive: Archive, recorded, every=()):
    """Return what a replay says of the risk decisions, were the first recorded like this."""
    chain = decision(archive)
    first, *others = [replace(made, **dict(every)) for made in chain.plan.decisions]
    plan = replace(chain.plan, decisions=(replace(first, **recorded), *others))
    [step] = [step for step in archive.replayer.replay(replace(chain, plan=plan)).steps if step.step == AGAIN[-1]]
    return step.verdict


def test_a_restatement_by_the_pipeline_is_told_and_is_no_alteration(copied):
    from trading_pipeline.adapters.storage.written_rows import written_beside

    chain, tables = decision(copied), tables_of(copied)
    bar = tables.read("bars", DECIDED_ON, DECIDED_ON).query("symbol == 'SPY'").assign(close=1.0)
    kept = written_beside(tables.root)
    begun = kept.begin("bars", bar, tables.version("bars"))
    kept.end(begun, tables.upsert("bars", bar))

    again = reopened(copied).replayer.replay(chain)

    assert again.is_equal
    assert any("1 bar was restated by the pipeline since the decision, such as SPY" in note for note in again.notes)


def test_other_settings_are_said_to_be_others(archive):
    changed = Settings.model_validate({"orders": {"band": "0.02"}})
    other = Archive(Choice(changed, archive.choice.home))

    again = other.replayer.replay(decision(archive))

    assert any(note.startswith("settings have changed since") for note in again.notes)


class TestCommands:
    def test_a_terminal_shows_the_tree_and_the_verdict(self, traded, fills, elsewhere):
        asked = fills[-1]["execution_id"].rpartition("::")[2][:12]

        said = run(traded, "fill", asked, "--replay")

        assert said.exit_code == 0, said.output
        for word in ("synthetic", fills[-1]["execution_id"], "risk decision", "closest call", "readings", "bars"):
            assert word in said.stdout
        assert re.search(r"replay of plan \S+ from the recorded table versions: equal", said.stdout)

    def test_json_holds_the_same_steps(self, traded, fills, elsewhere):
        said = run(traded, "order", fills[0]["client_order_id"], "--json")

        data = json.loads(said.stdout)
        assert data["market"] == "a generated (synthetic) market"
        order = data["explanation"]
        assert order["step"] == "order"
        [decided] = order["below"]
        [plan] = decided["below"]
        assert [each["step"] for each in plan["below"]] == ["portfolio", "allocation"]
        signal = plan["below"][1]["below"][0]
        assert signal["path"]["session"] == str(fills[0]["session"])
        assert signal["below"][0]["below"][0]["origin"]["table"] == "bars"
        assert "replay" not in data

    def test_a_page_holds_everything_and_fetches_nothing(self, traded, fills, elsewhere, tmp_path):
        said = run(traded, "fill", fills[-1]["execution_id"], "--html", tmp_path / "why.html", "--replay", "--json")

        page = (tmp_path / "why.html").read_text()
        strategies = [step for step in _walk(json.loads(said.stdout)["explanation"]) if step["step"] == "signal"]
        assert page.count("data:image/svg+xml;base64,") == len(strategies) > 0
        assert re.search(r"(src|href)=\"(?!data:)", page) is None
        assert "url(" not in page
        assert "prefers-color-scheme: dark" in page
        assert 'name="viewport"' in page
        for word in ("synthetic", "replay: equal", fills[-1]["execution_id"], fills[-1]["plan_id"]):
            assert word in page

    def test_an_altered_bar_is_named_on_every_way_out_and_the_exit_code_is_1(self, copied, elsewhere, tmp_path):
        altered_in_a_new_version(tables_of(copied), decision(copied).version("bars"))
        home, page = copied.choice.home.folder.parent, tmp_path / "why.html"

        said = run(home, "allocation", DECIDED_ON, "--replay", "--html", page)
        data = run(home, "allocation", DECIDED_ON, "--replay", "--json")

        assert (said.exit_code, data.exit_code) == (1, 1)
        assert f"altered by hand: SPY {DECIDED_ON} close: recorded" in said.stdout
        assert f"SPY {DECIDED_ON} close: recorded" in page.read_text()
        [bar] = json.loads(data.stdout)["replay"]["altered_bars"]
        assert (bar["symbol"], bar["session"], bar["column"]) == ("SPY", str(DECIDED_ON), "close")

    def test_one_symbol_of_an_allocation_is_explained_alone(self, archive, traded, elsewhere):
        target = archive.records.allocation(decision(archive))
        symbol = next(iter(target.weights))

        said = json.loads(run(traded, "allocation", DECIDED_ON, symbol.lower(), "--json").stdout)["explanation"]

        assert said["title"].startswith(f"{symbol} ")
        assert {row["symbol"] for row in said["rows"]} == {symbol}
        assert len(said["below"]) >= len({part.strategy for part in target.behind(symbol)})

    @pytest.mark.parametrize(("kind", "column"), [("fill", "execution_id"), ("order", "client_order_id")])
    def test_without_an_id_the_newest_are_listed_and_nothing_of_them_is_cut(
        self, traded, archive, fills, elsewhere, monkeypatch, kind, column
    ):
        monkeypatch.setattr(console, "WIDTH_OF_FILES", 80)
        said = run(traded, kind)

        assert said.exit_code == 0, said.output
        assert "…" not in said.stdout
        listed = [line.split()[0] for line in said.stdout.splitlines() if re.search(r" (buy|sell) ", line)]
        asked = {"fill": archive.explainer.fill, "order": archive.explainer.order}[kind]
        assert len(listed) == min(10, len(fills))
        assert all(asked(name)[0] for name in listed)

    def test_without_a_session_the_newest_allocations_are_listed(self, traded, elsewhere):
        said = run(traded, "allocation")

        assert said.exit_code == 0, said.output
        assert str(DECIDED_ON) in said.stdout

    def test_what_is_not_there_is_answered_with_what_is(self, archive, fills, elsewhere):
        newest = max(fills, key=lambda each: each["filled_at"])["execution_id"]
        with pytest.raises(InvalidInput, match=f"no fill has the id 'nobody'; the newest are {newest}.*--home"):
            archive.explainer.fill("nobody")
        with pytest.raises(InvalidInput, match=r"no order has the id 'nobody'; the newest are tp1-.*--home"):
            archive.explainer.order("nobody")
        with pytest.raises(InvalidInput, match="XYZ has no weight in the allocation of 2026-07-30; it holds "):
            archive.explainer.allocation(DECIDED_ON, "XYZ")
        with pytest.raises(InvalidInput, match=r"session 2020-01-02 has no allocation; the newest .*: 2026-07-30, "):
            archive.explainer.allocation(date(2020, 1, 2))

    def test_of_an_empty_folder_it_is_said_where_fills_come_from(self, clean, tmp_path):
        with pytest.raises(InvalidInput, match=r"there is no fill at all\. `trading-pipeline run` makes some"):
            Archive(Choice(Settings(), Home(tmp_path))).explainer.fill("aa")


def _walk(step):
    yield step
    for below in step.get("below", []):
        yield from _walk(below)


def test_without_dagsters_record_everything_else_is_explained(copied, fills):
    step, plan = copied.explainer.fill(fills[-1]["execution_id"])

    origins = {each.noun: each.origin for each in step.walk()}
    assert origins[Noun.FILL].run_id == ""
    assert origins[Noun.ALLOCATION].run_id == {entry.asset: entry.run_id for entry in plan.lineage}["allocation"]
    assert origins[Noun.BARS].version == {entry.asset: entry.table_version for entry in plan.lineage}["bars"]

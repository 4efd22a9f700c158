"""``check FOLDER`` and ``docs``: every promise over the tables of one folder, told and drawn."""

import json
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from deltalake import write_deltalake

from dbt_like_checks.__main__ import main
from dbt_like_checks.contract import contract, tables
from dbt_like_checks.sql_tables import arrow_table
from trading_pipeline_tests.checks.frames import ROWS, THURSDAY, frame_of, frames

TABLES = len(ROWS)


@pytest.fixture
def stored(tmp_path):
    """Write the tables of a session into a folder: fills as Delta Lake, the catalog as CSV, the others as Parquet."""

    def written(**changes):
        folder = tmp_path / "tables"
        folder.mkdir(exist_ok=True)
        for table, frame in frames(**changes).items():
            name = "tecl_signal" if table == "signals" else table
            if table == "fills":
                write_deltalake(str(folder / name), arrow_table(frame, contract(table)), mode="overwrite")
            elif table == "asset_catalog":
                frame.to_csv(folder / f"{name}.csv", index=False)
            else:
                frame.to_parquet(folder / f"{name}.parquet")
        return folder

    return written


def found_in(folder, capsys, *options):
    code = main(["check", str(folder), "--json", *options])
    data = json.loads(capsys.readouterr().out)
    return code, data, {(each["table"], each["promise"]): each for each in data["found"]}


def test_tables_in_order_keep_every_promise_that_can_be_judged(stored, capsys):
    code, data, found = found_in(stored(), capsys)

    assert (code, data["session"], data["counts"]["broken"]) == (0, "2026-07-31", 0)
    assert found["tecl_signal", "no_signal_uses_a_later_bar"]["verdict"] == "kept"
    assert found["fills", "filled_quantity_within_approved"]["checked_rows"] == 2
    assert {each["verdict"] for each in data["found"] if each["contract"] in ROWS} == {"kept"}
    absent = {each["contract"]: each["detail"] for each in data["found"] if each["verdict"] == "not judged"}
    assert absent == dict.fromkeys(set(tables()) - set(ROWS), "no such table is there")


def test_what_is_broken_is_told_with_its_rows_and_gives_one(stored, capsys):
    folder = stored(fills=(0, {"quantity": Decimal(500)}))

    assert main(["check", str(folder)]) == 1

    told = capsys.readouterr().out
    assert "[error] fills: filled_quantity_within_approved: The fills of an order add up to no more shares" in told
    assert "filled 507.000000000" in told
    assert f"{TABLES} tables of session 2026-07-31: " in told
    assert "not judged: risk_report, 8 promises: no such table is there" in told


def test_a_broken_warning_alone_gives_zero(stored, capsys):
    code, _, found = found_in(stored(fills=ROWS["fills"][:1]), capsys)

    assert (code, found["execution_quality", "fills_and_orders_add_up"]["verdict"]) == (0, "broken")


def test_strictly_what_is_not_judged_counts_as_broken(stored, capsys):
    assert found_in(stored(), capsys, "--strict")[0] == 1


def test_a_table_that_has_not_come_so_far_is_not_judged(stored, capsys):
    old = [row | {"session": THURSDAY} for row in ROWS["bars"]]

    code, data, found = found_in(stored(bars=old), capsys)

    why = "it has no rows of 2026-07-31 yet, the newest are of 2026-07-30"
    assert (data["session"], found["bars", "types"]["detail"]) == ("2026-07-31", why)
    assert found["indicators", "every_reading_has_its_bar"]["detail"] == "the table bars was not given"
    assert code == 0


def test_the_session_may_be_chosen_and_rows_of_others_are_left_alone(stored, capsys):
    folder = stored(bars=[*ROWS["bars"], *(row | {"session": THURSDAY, "close": -1.0} for row in ROWS["bars"])])

    assert found_in(folder, capsys)[0] == 0
    code, data, found = found_in(folder, capsys, "--session", str(THURSDAY))
    assert (code, data["session"]) == (1, str(THURSDAY))
    assert found["bars", "prices_are_positive"]["failing_rows"] == 2
    assert found["tecl_signal", "row_count"]["verdict"] == "broken"


def test_what_is_no_table_is_left_out_with_the_reason(stored, capsys):
    folder = stored()
    (folder / "notes.txt").write_text("x")
    (folder / "pictures").mkdir()
    (folder / "colours.csv").write_text("a\n1\n")

    _, data, _ = found_in(folder, capsys)

    assert data["left_out"] == {
        "notes.txt": "neither a Parquet nor a CSV file",
        "pictures": "a folder without _delta_log, so no Delta table",
        "colours.csv": "there is no contract of this name",
    }


def test_a_table_that_cannot_be_read_gives_two_and_the_others_are_judged(stored, capsys):
    folder = stored()
    (folder / "bars.parquet").write_bytes(b"no parquet")

    code, data, found = found_in(folder, capsys)

    assert (code, data["unreadable"]) == (2, ["bars"])
    assert "bars.parquet: cannot be read" in found["bars", "types"]["detail"]
    assert found["fills", "types"]["verdict"] == "kept"


def test_folders_without_tables_and_tables_given_twice_give_two(stored, tmp_path, capsys):
    folder = stored()
    (folder / "fills.csv").write_text("a\n1\n")
    (tmp_path / "empty").mkdir()

    assert main(["check", str(folder)]) == 2
    assert "holds the table fills twice: fills and fills.csv" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "empty")]) == 2
    assert "holds no table that has a contract; those are allocation, " in capsys.readouterr().err
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert "a folder of tables was wanted" in capsys.readouterr().err


def test_a_test_of_ones_own_is_asked_too_and_a_mistake_in_it_is_named(stored, tmp_path, capsys):
    own = tmp_path / "own"
    own.mkdir()
    head, body = "-- I hold no TECL.\n-- tables: allocation\n-- on: allocation\n", "select * from allocation"
    text = f"{head}\n{body} where symbol = 'TECL'\n"
    (own / "no_tecl.sql").write_text(text)

    code, _, found = found_in(stored(), capsys, "--singular", str(own))
    assert (code, found["allocation", "no_tecl"]["failing_rows"]) == (1, 1)

    worse = tmp_path / "worse"
    worse.mkdir()
    (worse / "worse.sql").write_text(text.replace("symbol", "zymbol"))
    assert main(["list", "--singular", str(worse)]) == 2
    assert "worse.sql:5: Binder Error" in capsys.readouterr().err
    assert main(["list", "--singular", str(tmp_path / "nowhere")]) == 2


def test_the_list_tells_what_is_promised_across_tables(capsys):
    assert main(["list", "--table", "tecl_signal"]) == 0

    told = capsys.readouterr().out
    assert "signals: What one strategy wants to hold" in told
    assert "[error] no_signal_uses_a_later_bar: No signal rests on a reading or a bar of a session after" in told


def test_one_file_is_asked_across_tables_where_the_others_are_given(stored, capsys):
    folder = stored(fills=(0, {"quantity": Decimal(500)}))
    frame_of("fills", [ROWS["fills"][0] | {"quantity": Decimal(500)}]).to_parquet(folder / "mine.parquet")
    arguments = ["check", "fills", str(folder / "mine.parquet"), "--session", "2026-07-31"]

    assert main(arguments) == 0
    assert "not judged: the table approved_orders was not given" in capsys.readouterr().out
    assert main([*arguments, "--related", f"approved_orders={folder / 'approved_orders.parquet'}"]) == 1


class Page(HTMLParser):
    """What a page holds: ids, links, what it would fetch, and its text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched, self.open, self.words = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if "href" in known else []
        self.fetched += [tag] if tag in {"script", "link", "img", "iframe"} or "src" in known else []
        if tag not in {"meta", "br", "link", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page_of(tmp_path, *options):
    out = tmp_path / "promises.html"
    assert main(["docs", "--out", str(out), *options]) == 0
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert (page.open, page.fetched) == ([], [])
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    return text, page


def test_the_page_tells_every_promise_of_every_table_and_fetches_nothing(tmp_path):
    text, page = page_of(tmp_path)

    assert set(tables()) <= set(page.ids)
    for table in tables():
        for promise in contract(table).promises:
            assert f"{table}.{promise.name}" in page.ids
    assert "fills.every_fill_has_an_approved_order" in page.ids
    assert "No results were given" in text
    assert "fraction of account equity" in page.words


def test_the_page_tells_what_was_found_when_and_of_which_session(stored, tmp_path, capsys):
    folder = stored(fills=(0, {"quantity": Decimal(500)}))
    main(["check", str(folder), "--json"])
    results = tmp_path / "results.json"
    results.write_text(capsys.readouterr().out, encoding="utf-8")

    text, page = page_of(tmp_path, "--results", str(results))

    counts = json.loads(results.read_text(encoding="utf-8"))["counts"]
    assert counts["broken"] == 2
    assert {f"{counts['kept']} kept", "1 broken", "1 broken, only shown"} <= set(page.words)
    assert "for session 2026-07-31" in text
    assert "507.000000000" in page.words
    assert "Not judged: no such table is there." in page.words
    assert "#fills.filled_quantity_within_approved" in page.links


def test_the_page_may_be_made_of_a_folder_in_one_go(stored, tmp_path):
    text, page = page_of(tmp_path, "--tables", str(stored()))

    assert "0 broken" in page.words
    assert "for session 2026-07-31" in text


def test_whatever_a_table_holds_is_text_on_the_page(stored, tmp_path):
    evil = "<script>alert(1)</script>"

    text, page = page_of(tmp_path, "--tables", str(stored(fills=(0, {"client_order_id": evil}))))

    assert evil not in text
    assert evil in page.words


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"found": 3}'])
def test_a_file_without_results_gives_two(tmp_path, capsys, text):
    results = tmp_path / "results.json"
    results.write_text(text)

    assert main(["docs", "--out", str(tmp_path / "p.html"), "--results", str(results)]) == 2
    assert "results.json: no findings of `check FOLDER --json`" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_gives_two(tmp_path, capsys):
    assert main(["docs", "--out", str(tmp_path / "nowhere" / "p.html")]) == 2
    assert "p.html: cannot be written: No such file or directory" in capsys.readouterr().err

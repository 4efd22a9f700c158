import base64
import html
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import quote, quote_plus, unquote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.redaction import Redactor, base64_spellings, spellings
from trading_pipeline.domain.redaction.fields import Kind, kind_of

KEY = b"the key of a run"
ACCOUNT = "SIM4827193"
SECRET = 'pa/ss+"w<o>rd&1é'
CANARIES = ("ZYGX", "QWX", "T", "BRK.B", "BTC/USD", "BIL")


@pytest.fixture(scope="module")
def hidden():
    return Redactor([*catalogue(), *CANARIES], KEY, [ACCOUNT, SECRET])


REDACTOR = Redactor([*catalogue(), *CANARIES], KEY, [ACCOUNT, SECRET])

# Where a canary is put: each makes a text of it, and leaves it a word.
PLACES = {
    "plain": lambda canary: f"bought {canary} today",
    "alone": lambda canary: canary,
    "json": lambda canary: json.dumps({"what": f"line\n{canary}\tend", "more": [canary]}),
    "json in json": lambda canary: json.dumps(json.dumps({"text": f"a\n{canary}"})),
    "url": lambda canary: "https://x.example/orders?" + quote(f"a {canary},b", safe=""),
    "form": lambda canary: "q=" + quote_plus(f"a {canary} b") + "&n=" + quote(canary, safe=""),
    "markdown": lambda canary: f"| a | b |\n|---|---|\n| {canary} | x |\n| **{canary}** | `{canary}` |",
    "svg": lambda canary: (
        f'<svg><text x="1.5" y="2">{html.escape(canary)}</text><g aria-label="{html.escape(canary)}"/></svg>'
    ),
    "html": lambda canary: html.escape(f"<td>{canary}</td>"),
    "escaped twice": lambda canary: html.escape(html.escape(f'"{canary}"')),
    "data": lambda canary: (
        "![x](data:image/svg+xml;base64," + base64.b64encode(f"<b>{canary}</b>".encode()).decode() + ")"
    ),
    "colours": lambda canary: f"\x1b[1m\x1b[31m{canary}\x1b[0m",
    "repr": lambda canary: repr({"a": canary, "b": [canary]}),
    "traceback": lambda canary: f'  File "/a/b.py", line 12, in f\nKeyError: {canary!r}',
    "logfmt": lambda canary: f'order event=x about="{canary}" other={canary}',
    "unicode escape": lambda canary: f"\\u003c{canary}\\u003e",
}
FIGURES = st.one_of(
    st.decimals("0.01", "99999999", places=2).map(lambda value: f"{value:,}"),
    st.decimals("1000.1", "99999", places=4).map(str),
    st.integers(10_000_000, 999_999_999).map(lambda value: f"${value:,}"),
    st.floats(1e-7, 1e9, allow_nan=False).filter(lambda value: len(repr(value)) > 6).map(repr),
    st.integers(100_001, 899_999).map(str),
    st.integers(100_001, 899_999).map(lambda value: f"-{value}"),
)


def spelled_in(text, canary):
    """Every form in which a reader of the text could still find the canary as a word."""
    text = re.sub(r"\x1b\[[0-9;]*m", " ", text)
    decoded = [text, html.unescape(html.unescape(text)), *re.findall(r"base64,([A-Za-z0-9+/=]+)", text)]
    decoded += [base64.b64decode(part).decode() for part in decoded[2:]]
    decoded.append(unquote_plus(text))
    found = re.compile(rf"(?<![A-Za-z0-9]){re.escape(canary)}(?![A-Za-z0-9])")
    return any(found.search(part) for part in decoded)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("canary", CANARIES)
def test_no_symbol_survives_in_any_text_that_it_is_put_into(hidden, place, canary):
    text = PLACES[place](canary)
    assert place in {"escaped twice", "url", "form", "json", "json in json", "unicode escape"} or spelled_in(
        text, canary
    )

    shown = hidden.text(text)

    assert not spelled_in(shown, canary)
    assert hidden.symbol(canary) in shown or "base64" in shown


@pytest.mark.parametrize("place", [place for place in PLACES if place != "unicode escape"])
@given(figure=FIGURES)
def test_no_figure_survives_in_any_text_that_it_is_put_into(place, figure):
    digits = figure.lstrip("$-")
    shown = REDACTOR.text(PLACES[place](figure))

    assert digits not in shown
    assert quote(digits, safe="") not in shown
    for part in shown.split("base64,")[1:]:
        assert digits not in base64.b64decode(part.rstrip(")")).decode()


@pytest.mark.parametrize("canary", [ACCOUNT, SECRET])
@pytest.mark.parametrize("place", PLACES)
def test_no_account_and_no_secret_survives(hidden, place, canary):
    shown = hidden.text(PLACES[place](canary))

    assert not any(spelling in shown for spelling in spellings(canary))


def test_a_secret_is_found_in_base64_too(hidden):
    assert base64.b64encode(SECRET.encode()).decode() not in hidden.text(
        f"Authorization: {base64.b64encode(SECRET.encode()).decode()}"
    )


HARMLESS = [
    "2026-07-31.1",
    "plan hypothetical-2026-07-31.12:3 of session 2026-07-31 is finished",
    "at 2026-08-03T14:00:00.123456+00:00, 09:30 to 16:00:05",
    "run 1d0ba2f4-7c0e-4b5b-9f2b-0d9f6a3b1c77, hash 7f3a9c01, sha 8412e03f99aa, v2, klm_506_38, python3.11",
    "nuclear, tecl and klm; TOTAL of T+1 and TECHNOLOGY, not_ONE; CASH",
    "12 orders, 3 open orders, 2 of 5 checks, attempt 2, line 14, 0.25 s, 137 ms, 5 minutes, 3rd",
    "rows=7 seconds=0.125 table_version=12 status=200 port: 4321",
    '{"rows": 7, "seconds": 0.5, "run_id": "abc"}',
    '  File "/home/me/.venv/lib/python3.11/site-packages/x1/y.py", line 123, in f2',
    "orders.py:12:3, http://127.0.0.1:3000/runs, 1.13.27, settings.yaml:7",
    '<svg viewBox="0 0 640 480"><path d="M1.5 2.25L3 4" stroke-width="1.5"/><text x="12.5" y="3">equity</text></svg>',
    "<style>td{line-height:1.4;padding:12px 0.5em}</style><h1>Report</h1>",
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    "&#39;quoted&#39; &amp; \\u0041",
    "SYM_7f3a and *** stay",
    "",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_text_without_canaries_comes_back_as_it_is(hidden, text):
    assert hidden.text(text) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="0123456789", exclude_categories=["Nd", "Lu"])))
def test_text_without_capitals_and_digits_is_never_changed(text):
    assert REDACTOR.text(text) == text


ALPHABET = st.one_of(
    st.sampled_from(
        [
            *CANARIES,
            "USD",
            "137",
            "12.5",
            "1,234.56",
            "$",
            " ",
            " ",
            "=",
            ": ",
            '"',
            "orders",
            "rows",
            "attempt ",
            "-",
            "%2C",
            "<td>",
            "</td>",
            "2026-07-31",
            ".1",
            "T",
            "\\n",
            "\n",
            "e",
            "x",
            "_",
            "/",
            "of ",
            "***",
            "SYM_7f3a",
            ACCOUNT,
            "line ",
        ]
    ),
    st.text(max_size=4),
)


@given(st.lists(ALPHABET, max_size=12).map("".join))
@example("12.5 USD and 137 USD")
@example('"quantity": 137, "price":12.5')
def test_what_was_redacted_comes_back_unchanged(text):
    once = REDACTOR.text(text)

    assert REDACTOR.text(once) == once


def test_a_symbol_has_one_pseudonym_in_a_run_and_another_in_the_next():
    first, again, other = (Redactor(["TQQQ", "BIL"], key) for key in (b"a", b"a", b"b"))

    assert first.text("TQQQ then BIL then TQQQ") == again.text("TQQQ then BIL then TQQQ")
    assert first.symbol("TQQQ") != first.symbol("BIL")
    assert first.symbol("TQQQ") != other.symbol("TQQQ")
    assert first.symbol(first.symbol("TQQQ")) == first.symbol("TQQQ")


def test_every_symbol_of_a_large_catalogue_has_a_pseudonym_of_its_own():
    symbols = [f"{a}{b}{c}" for a in "ABCDEFGHIJ" for b in "KLMNOPQRST" for c in "UVWXYZABCD"]
    hidden = Redactor(symbols, KEY)

    assert len({hidden.symbol(symbol) for symbol in symbols}) == len(symbols)


def test_a_currency_behind_a_figure_keeps_its_name_and_the_fund_of_that_name_does_not(hidden):
    assert hidden.text("12.50 USD") == "*** USD"
    assert hidden.text("bought USD") == f"bought {hidden.symbol('USD')}"


def test_what_is_learned_later_is_hidden_from_then_on():
    hidden = Redactor([], KEY)
    assert hidden.text("LATER of A1B2C3X") == "LATER of A1B2C3X"

    hidden.learn(["LATER"], ["A1B2C3X"])

    assert hidden.text("LATER of A1B2C3X") == f"{hidden.symbol('LATER')} of ***"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("quantity", Decimal("12.5"), "***"),
        ("limit_price", 101.25, "***"),
        ("equity", "100,000.00", "***"),
        ("account_number", "ABC", "***"),
        ("surprise", 7, "***"),
        ("rows", 7, 7),
        ("seconds", 0.25, 0.25),
        ("dagster/row_count", 12, 12),
        ("table_version", 3, 3),
        ("weight", 0.6, 0.6),
        ("is_over", True, True),
        ("reason", None, None),
        ("session", date(2026, 7, 31), date(2026, 7, 31)),
        ("orders", "12", "12"),
        ("plan_id", "2026-07-31.1", "2026-07-31.1"),
        ("correlation_id", "tp1-0137", "tp1-0137"),
        ("status", "available", "available"),
        ("tables_read", {"bars": 12, "indicators": 3}, {"bars": 12, "indicators": 3}),
        ("event", "order_acknowledged", "order_acknowledged"),
        ("timestamp", "2026-08-03T14:00:00Z", "2026-08-03T14:00:00Z"),
        ("side", "buy", "buy"),
    ],
)
def test_a_field_is_shown_as_its_name_allows(hidden, name, value, shown):
    assert hidden.value(name, value) == shown


def test_symbols_of_fields_are_hidden_even_where_nobody_knows_them(hidden):
    unknown = hidden.symbol("NEWCO")

    assert hidden.value("symbol", "NEWCO") == unknown
    assert hidden.value("symbols_without_bars", "NEWCO, BIL") == f"{unknown}, {hidden.symbol('BIL')}"
    assert hidden.value("symbols", {"NEWCO": 0.5}) == {unknown: 0.5}
    assert hidden.value("symbols", ["NEWCO", "CASH"]) == [unknown, "CASH"]
    assert hidden.text("order symbol=NEWCO") == f"order symbol={unknown}"


def test_mappings_are_looked_into(hidden):
    shown = hidden.value(
        "order", {"symbol": "ZYGX", "fills": [{"price": 3.25, "at": datetime(2026, 8, 3, tzinfo=UTC)}]}
    )

    assert shown == {
        "symbol": hidden.symbol("ZYGX"),
        "fills": [{"price": "***", "at": datetime(2026, 8, 3, tzinfo=UTC)}],
    }


def test_a_table_is_redacted_by_its_columns(hidden):
    rows = [{"symbol": "NEWCO", "side": "buy", "quantity": "12.5", "ZYGX": "0.5", "orders": 2}]

    assert hidden.table(rows) == [
        {"symbol": hidden.symbol("NEWCO"), "side": "buy", "quantity": "***", hidden.symbol("ZYGX"): "***", "orders": 2}
    ]


def test_numbers_of_numpy_are_numbers(hidden):
    import numpy as np

    assert hidden.value("price", np.float64(1.5)) == "***"
    assert hidden.value("rows", np.int64(3)) == 3


@given(st.text(min_size=8, max_size=30), st.binary(max_size=5), st.binary(max_size=5))
def test_base64_of_a_longer_text_shows_one_of_the_spellings(secret, before, after):
    encoded = base64.b64encode(before + secret.encode() + after).decode()

    assert any(part in encoded for part in base64_spellings(secret))


def test_the_first_kind_that_fits_a_name_counts():
    assert [kind_of(name) for name in ("account_equity", "symbol_price", "session_id", "orders", "market")] == [
        Kind.ACCOUNT,
        Kind.FIGURE,
        Kind.NAME,
        Kind.COUNT,
        Kind.UNKNOWN,
    ]

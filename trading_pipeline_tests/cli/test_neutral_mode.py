"""One session, from bars to fills, in neutral mode: no byte that it tells anybody speaks of what was traded."""

import base64
import re
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pytest
import yaml

from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.domain import sessions
from trading_pipeline.domain.strategies import STRATEGIES, tree

CANARIES = ("ZYGX", "QWXV")
TRADED = date(2026, 7, 31)
STRATEGY = """
(defsymphony "Odd" {:asset-class "EQUITIES", :rebalance-threshold 0.05}
  (weight-specified 0.6127 (asset "ZYGX" nil) 0.3873 (asset "QWXV" nil)))
"""
# What is needed to trade, and the world that is traded with: documented as not redacted.
PRODUCT = ("tables", "objects", "simulator", "journal.sqlite", "audit")
SHORTEST_FIGURE = 6


@dataclass(frozen=True)
class Told:
    """What a run told: on its standard output and error, and in each file beside the product."""

    home: Home
    said: str
    code: int

    def texts(self):
        """Everything told: bytes as they lie there, and the cells of databases, which pages may cut."""
        yield "standard output and error", self.said
        for path in sorted(self.home.folder.rglob("*")):
            place = path.relative_to(self.home.folder)
            if path.is_file() and not place.parts[0].startswith(PRODUCT):
                yield str(place), path.read_bytes().decode("latin-1")
                if path.suffix in {".db", ".sqlite"}:
                    yield f"cells of {place}", "\n".join(cells_of(path))

    def rows(self, table):
        session = sessions.previous_session(TRADED)
        return DeltaTables(str(self.home.tables)).read(table, session, session)


def cells_of(path):
    with closing(sqlite3.connect(path)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - the names are its own
                for cell in row:
                    yield unpacked(cell) if isinstance(cell, bytes) else str(cell)


def unpacked(cell):
    try:
        return zlib.decompress(cell).decode()
    except zlib.error:
        return cell.decode("latin-1")


def bars_file(folder):
    read = {symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)}
    symbols = sorted({*read, *CANARIES, "BIL"})
    days = sessions.sessions_between(date(2024, 6, 3), TRADED)
    steps = np.random.default_rng(20260731).normal(0.0004, 0.011, (len(days), len(symbols)))
    closes = pd.DataFrame(87.3719 * np.exp(steps.cumsum(axis=0)), index=days, columns=symbols).round(4)
    frame = closes.rename_axis("session").melt(ignore_index=False, var_name="symbol", value_name="close").reset_index()
    frame = frame.assign(
        open=(frame["close"] * 0.9971).round(4),
        high=(frame["close"] * 1.0043).round(4),
        low=(frame["close"] * 0.9949).round(4),
        volume=7_654_321,
    )
    path = folder / "bars.parquet"
    frame.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "strategies").mkdir()
    (folder / "strategies" / "odd.symphony").write_text(STRATEGY)
    described = {symbol: {"asset_class": "equity sector", "leverage": 1} for symbol in CANARIES}
    settings = {
        "strategies": {"folder": str(folder / "strategies"), "capital_shares": {"odd": 1.0}},
        "instruments": described,
        "simulator": {"cash": 123457.89, "holdings": {}},
        "observability": {"neutral": True},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def told(inputs, done, tmp_path_factory):
    root = tmp_path_factory.mktemp("home")
    options = ("--sessions", "1", "--through", TRADED, "--bars", bars_file(inputs), "--home", root)
    end = done("run", "--settings", inputs / "settings.yaml", *options)
    [folder] = [path for path in root.iterdir() if path.is_dir()]
    return Told(Home(folder), end.stdout + end.stderr, end.returncode)


def figures_of(told):
    """Every quantity, price and amount of the session that is odd enough to be recognised."""
    wanted = {
        "portfolio_snapshot": ["quantity", "price", "market_value"],
        "order_plan": ["quantity", "limit_price", "notional"],
        "fills": ["quantity", "price"],
    }
    values = {
        value for table, columns in wanted.items() for name in columns for value in told.rows(table)[name].dropna()
    }
    shown = {f"{float(value):{form}}" for value in values for form in (".2f", ",.2f", ".4f", ".6g", "")}
    exact = {str(value).rstrip("0").rstrip(".") for value in values}
    return {figure for figure in shown | exact if len(figure.replace(",", "").replace(".", "")) >= SHORTEST_FIGURE}


def found_in(text, canaries):
    """Those of the canaries that stand as words in the text, or in what it holds in base64."""
    words = "|".join(map(re.escape, sorted(canaries, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![A-Za-z0-9.])(?:{words})(?![A-Za-z0-9])")
    return {found[0] for part in (text, *drawings_in(text)) for found in pattern.finditer(part)}


def drawings_in(text):
    for encoded in re.findall(r"base64,([A-Za-z0-9+/]{16,})", text):
        yield base64.b64decode(encoded[: len(encoded) // 4 * 4]).decode("latin-1")


def test_the_session_was_traded(told):
    assert told.code == 0, told.said
    assert set(told.rows("fills")["symbol"]) == set(CANARIES)


def test_no_byte_that_the_run_tells_names_what_was_traded(told):
    account = told.rows("portfolio_snapshot")["account_number"].iloc[0]
    hidden = {*CANARIES, *figures_of(told), account, "123457.89", "123,457.89"}
    assert len(hidden) > 15

    leaks = {place: found for place, text in told.texts() if (found := found_in(text, hidden))}

    assert leaks == {}


def test_pseudonyms_correlate_what_the_run_tells(told):
    texts = dict(told.texts())
    everywhere = {name: set(re.findall(r"SYM_[0-9a-f]{4,}", text)) for name, text in texts.items()}
    said, index = everywhere["standard output and error"], everywhere["dagster/history/runs/index.db"]

    assert len(said) >= len(CANARIES)
    assert said <= index


def test_an_error_at_the_door_names_no_symbol(inputs, done, tmp_path):
    settings = yaml.safe_load((inputs / "settings.yaml").read_text())
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({**settings, "instruments": {}}))

    end = done("run", "--settings", tmp_path / "settings.yaml", "--home", tmp_path / "home")

    said = end.stdout + end.stderr
    assert end.returncode == 1
    assert re.search(r"error: odd has capital and may hold SYM_[0-9a-f]{4}", said)
    assert found_in(said, CANARIES) == set()

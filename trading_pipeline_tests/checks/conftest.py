from pathlib import Path
from textwrap import dedent

import pytest

from dbt_like_checks.contract import Contract, load

PRICES = """
    table: prices
    description: Closing prices.
    grain: {row: one row per session and symbol, key: [session, symbol]}
    columns:
      session: {type: date, meaning: The session., tests: [recency]}
      symbol: {type: str, meaning: Ticker., tests: [{accepted_values: {values: [SPY, QQQ]}}]}
      close: {type: float, unit: dollars, meaning: Last price., tests: [{accepted_range: {min: 0, exclusive: true}}]}
    tests:
      - not_null: {columns: [session, symbol, close]}
      - expression_is_true: {name: close_is_no_penny, expression: close >= 1, severity: warn}
"""


@pytest.fixture
def contract_of(tmp_path: Path):
    def loaded(text: str) -> Contract:
        path = tmp_path / "table.yml"
        path.write_text(dedent(text), encoding="utf-8")
        return load(path)

    return loaded


@pytest.fixture
def prices(contract_of) -> Contract:
    return contract_of(PRICES)

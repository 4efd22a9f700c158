import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.limit_of_code import LIMIT_OF, figure_of, limit_of
from trading_pipeline.domain.risk.limits import FAMILIES, LimitFamily, RiskLimits
from trading_pipeline.reporting.risk_limits_page import risk_limits_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "risk-limits.md"


def rows():
    """The cells of each row of the page, by code."""
    cells = [line.strip("| ").split(" | ") for line in risk_limits_page().splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_page_in_the_documentation_is_the_one_that_the_codes_make():
    assert PAGE.read_text("utf-8") == risk_limits_page()


def test_the_command_that_the_page_names_writes_it():
    [module] = re.findall(r"`python -m (\S+)`", risk_limits_page())

    written = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=True)

    assert written.stdout == risk_limits_page()


def test_every_code_has_one_row_with_its_sentence_and_measure():
    assert list(rows()) == [code.value for code in BreachCode]
    for code in BreachCode:
        assert rows()[code.value][:2] == [code.sentence, code.measure]


def test_every_limit_belongs_to_exactly_one_code():
    assert sorted(LIMIT_OF.values()) == sorted(limit.name for limit in fields(RiskLimits))


def test_a_row_shows_the_setting_and_the_defaults_of_both_families():
    weight = FAMILIES[LimitFamily.ORDINARY].max_position_weight

    assert rows()["POSITION_WEIGHT"][2:] == ["`risk.max_position_weight`", "1", str(weight)]
    assert rows()["ORDER_VALUE"][3] == "1,000,000"
    assert rows()["DAY_TRADES"][3:] == ["both", "both"]
    assert rows()["WASH_SALE"][3:] == ["no", "no"]


def test_what_cannot_be_switched_off_says_so():
    assert rows()["SYMBOL_HALTED"][2] == "always"
    assert rows()["MARKET_ORDER"][2:] == ["always", "no", "no"]


def test_a_limit_that_is_no_figure_or_switched_off_is_none_as_a_figure():
    off = RiskLimits(max_participation=None)

    assert figure_of(BreachCode.PARTICIPATION, off) is None
    assert figure_of(BreachCode.DAY_TRADES, off) is None
    assert figure_of(BreachCode.WASH_SALE, off) is None
    assert figure_of(BreachCode.DUPLICATE_ORDER, off) == 3.0
    assert limit_of(BreachCode.WASH_SALE, off) is False

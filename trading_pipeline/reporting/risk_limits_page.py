"""The page on the limits that every order must pass, made of the codes themselves.

``python -m trading_pipeline.reporting.risk_limits_page > docs/risk-limits.md`` writes it anew.
"""

import sys
from decimal import Decimal

from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.limit_of_code import LIMIT_OF, limit_of
from trading_pipeline.domain.risk.limits import FAMILIES, LimitFamily, RiskLimits
from trading_pipeline.settings import RiskSettings

_HEAD = """\
# Limits that every order must pass

Made of the codes by `python -m trading_pipeline.reporting.risk_limits_page`; change them, not this page.

An order that breaks a rule is denied, or reduced to the largest quantity that keeps all of them; the code says why.
Where nothing else is said, what is measured is the account once the order, the open orders of its side and the
plan's approved ones before it have filled. A measure equal to its limit passes, and so does an order that lowers a
measure which is too high. *Family* is the setting `risk.family`: `rotation` is for strategies that hold one or few
funds at a time, leveraged ones among them, and `ordinary` for a spread portfolio; any setting of its own takes the
place of the family's figure. Why each figure is what it is: [decision on risk](decisions/risk.md).

| Code | What it says | Measured | Setting | rotation | ordinary |
|---|---|---|---|---|---|
"""
_ALWAYS = "always"


def risk_limits_page() -> str:
    """Return the page as Markdown: a row for each code, with the defaults of both families."""
    return _HEAD + "".join(map(_row, BreachCode))


def _row(code: BreachCode) -> str:
    setting = f"`risk.{LIMIT_OF[code]}`" if LIMIT_OF.get(code) in RiskSettings.model_fields else _ALWAYS
    figures = [_figure(code, FAMILIES[family]) for family in LimitFamily]
    cells = (f"`{code.value}`", code.sentence, code.measure, setting, *figures)
    return f"| {' | '.join(cells)} |\n"


def _figure(code: BreachCode, limits: RiskLimits) -> str:
    if code not in LIMIT_OF:
        return ""
    limit = limit_of(code, limits)
    if isinstance(limit, bool):
        return "yes" if limit else "no"
    return f"{limit:,f}" if isinstance(limit, Decimal) else "off" if limit is None else str(limit)


if __name__ == "__main__":
    sys.stdout.write(risk_limits_page())

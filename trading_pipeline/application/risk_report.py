"""The rows of table ``risk_report``, and how often each code decided on the orders of a session."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.report import RiskMeasure

if TYPE_CHECKING:
    import pandas as pd

ACCOUNT = "account"
"""The part of a measure that is of the account as a whole."""

_CODE = re.compile(rf"(?:^|; )({'|'.join(sorted(BreachCode, key=len, reverse=True))})(?= )")

_SENTENCES = {code.value: code.sentence for code in BreachCode}

_COLUMNS: Mapping[str, str] = {
    "session": "object",
    "measure": "str",
    "part": "str",
    "value": "float64",
    "limit": "float64",
    "share_of_limit": "float64",
    "code": "str",
}


def report_frame(measures: Sequence[RiskMeasure], session: date) -> "pd.DataFrame":
    """Return a row per measure, in the given order; figures that are not known or not limited are NaN."""
    import pandas as pd

    rows = [
        {
            "session": session,
            "measure": each.name,
            "part": each.part or ACCOUNT,
            "value": each.value,
            "limit": each.limit,
            "share_of_limit": each.share,
            "code": None if each.code is None else each.code.value,
        }
        for each in measures
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(dict(_COLUMNS))


def codes_counted(decisions: "pd.DataFrame") -> Mapping[str, Mapping[str, int]]:
    """Return by code how many orders it denied, reduced or warned of, from rows of table ``approved_orders``.

    An order that several codes denied counts for each of them.
    """
    counts: dict[str, Counter[str]] = {}
    for row in decisions.to_dict("records"):
        for code in _codes(row["breaches"]):
            counts.setdefault(code, Counter())[row["decision"]] += 1
        for code in _codes(row["warnings"]):
            counts.setdefault(code, Counter())["warned"] += 1
    return {code: dict(counts[code]) for code in sorted(counts)}


def counted_frame(counted: Mapping[str, Mapping[str, int]]) -> "pd.DataFrame":
    """Return the counts as a table for people: a row per code."""
    import pandas as pd

    kinds = ("denied", "reduced", "warned")
    rows = [
        {"code": code, **{kind: of.get(kind, 0) for kind in kinds}, "meaning": _SENTENCES[code]}
        for code, of in counted.items()
    ]
    return pd.DataFrame(rows, columns=["code", *kinds, "meaning"])


def _codes(told: object) -> Iterable[str]:
    # A missing text is None, NaN or NA, by the way that it took.
    return _CODE.findall(told) if isinstance(told, str) else ()

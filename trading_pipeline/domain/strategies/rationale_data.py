"""The path of a session as data that JSON can hold: stable keys, null where a number is undefined."""

import math
from collections.abc import Mapping
from typing import Any

from trading_pipeline.domain.strategies.rationale import (
    Compared,
    FilterRanked,
    Gap,
    GroupEntered,
    Held,
    IfTaken,
    InverseVolatilityWeighted,
    Ranked,
    Rationale,
    Split,
    Step,
    Term,
    Tested,
    Weighed,
)
from trading_pipeline.domain.strategies.rationale_text import sketch

Data = dict[str, Any]


def to_data(rationale: Rationale) -> Data:
    """Return the path as data.

    Keys: ``session`` (ISO date), ``status`` (available or unavailable),
    ``reason``, ``weights`` by symbol, ``closest`` (the closest call: ``step``,
    ``left``, ``right``, ``distance``, ``closeness``) and ``steps``, in which a
    branch's ``step`` is a place in that list. A step has a ``kind`` (if,
    filter, inverse_volatility, split, group or asset), its ``share`` of the
    sleeve and its ``branches``.
    """
    closest = rationale.closest
    return {
        "session": rationale.session.isoformat(),
        "status": "available" if rationale.reason is None else "unavailable",
        "reason": rationale.reason,
        "weights": dict(rationale.weights),
        "closest": None if closest is None else {"step": closest.step, **_gap(closest.gap)},
        "steps": [_step(step) for step in rationale.steps],
    }


def _step(step: Step) -> Data:
    branches = [{"step": branch.step, "weight": branch.weight} for branch in step.branches]
    kind, said = _said(step)
    return {"kind": kind, "share": step.share, **said, "branches": branches}


def _said(step: Step) -> tuple[str, Data]:
    match step:
        case Held(symbol=symbol):
            return "asset", {"symbol": symbol}
        case GroupEntered(name=name):
            return "group", {"name": name}
        case Split(is_equal=is_equal):
            return "split", {"equal": is_equal}
        case IfTaken():
            return "if", _test(step)
        case FilterRanked():
            return "filter", _filter(step)
        case InverseVolatilityWeighted(window=window, children=children):
            return "inverse_volatility", {"window": window, "children": [_weighed(child) for child in children]}
        case _:
            raise TypeError(f"a step of the class {type(step).__name__} has no data")


def _test(step: IfTaken) -> Data:
    taken: Mapping[bool | None, str | None] = {True: "then", False: "otherwise", None: None}
    other = step.not_taken
    return {
        "test": _tested(step.tested),
        "taken": taken[step.tested.truth],
        "not_taken": None if other is None else sketch(other),
    }


def _tested(tested: Tested) -> Data:
    if isinstance(tested, Compared):
        return {
            "text": str(tested),
            "truth": tested.truth,
            "operator": str(tested.operator),
            **_gap(tested.gap),
        }
    return {
        "connective": str(tested.connective),
        "truth": tested.truth,
        "parts": [_tested(part) for part in tested.parts],
    }


def _gap(gap: Gap) -> Data:
    return {
        "left": _term(gap.left),
        "right": _term(gap.right),
        "distance": _number(gap.distance),
        "closeness": _number(gap.closeness),
    }


def _filter(step: FilterRanked) -> Data:
    return {
        "end": str(step.end),
        "count": step.count,
        "indicator": str(step.indicator),
        "window": step.window,
        "candidates": [_ranked(entry) for entry in step.candidates],
        "gap": None if step.gap is None else _gap(step.gap),
    }


def _ranked(entry: Ranked) -> Data:
    return {
        "candidate": entry.candidate,
        "reading": _number(entry.term.value),
        "place": entry.place,
        "standing": str(entry.standing),
        "reason": entry.reason,
    }


def _weighed(child: Weighed) -> Data:
    return {"child": child.child, "deviation": _number(child.deviation.value), "weight": _number(child.weight)}


def _term(term: Term) -> Data:
    return {"name": term.name, "value": _number(term.value)}


def _number(number: float) -> float | None:
    return number if math.isfinite(number) else None

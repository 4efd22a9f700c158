"""How bad a bad day may be: value at risk and expected shortfall of what would be held.

Unlike the other exposures these may rise by a sale, that of a hedge, so a sale
is judged as well wherever the returns of all that is held are known. Where
they are not, it passes: a holding without a history must not trap another.
"""

from collections.abc import Callable
from decimal import Decimal

from trading_pipeline.domain.risk.decisions import Breach, BreachCode
from trading_pipeline.domain.risk.limits import Limit
from trading_pipeline.domain.risk.tail_risk import TailGate
from trading_pipeline.domain.risk.trial import Trial, measured


def value_at_risk(trial: Trial) -> Breach | None:
    """Limit the Student-t value at risk of a day."""
    limit = trial.limits.max_value_at_risk
    return _above(trial, BreachCode.VALUE_AT_RISK, lambda gate: gate.value_at_risk, limit)


def expected_shortfall(trial: Trial) -> Breach | None:
    """Limit the expected shortfall of a day: the greatest of historical, filtered and Student-t."""
    limit = trial.limits.max_expected_shortfall
    return _above(trial, BreachCode.EXPECTED_SHORTFALL, lambda gate: gate.expected_shortfall, limit)


def _above(trial: Trial, code: BreachCode, figure: Callable[[TailGate], float], limit: Limit) -> Breach | None:
    if limit is None:
        return None
    after = trial.after.tail_gate
    if after is None:
        return Breach(code, "not known", f"at most {limit}") if trial.is_buy else None
    found = _exact(figure(after))
    if not found.is_finite():
        return Breach(code, "not a number", f"at most {limit}")
    if found <= limit:
        return None
    before = trial.before.tail_gate
    is_lowered = before is not None and found <= _exact(figure(before))
    return None if is_lowered else Breach(code, found, limit)


def _exact(figure: float) -> Decimal:
    exact = Decimal(figure)
    return measured(exact) if exact.is_finite() else exact

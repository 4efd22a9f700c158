"""What is left of a text, an event or a table when it may not say what is traded, how much of it and for whom."""

from trading_pipeline.domain.redaction.fields import may_be_shown
from trading_pipeline.domain.redaction.redactor import Redactor
from trading_pipeline.domain.redaction.spellings import base64_spellings, spellings

__all__ = ["Redactor", "base64_spellings", "may_be_shown", "spellings"]

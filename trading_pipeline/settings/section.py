"""What every section of the settings is made of."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the tree: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


Fraction = Annotated[Decimal, Field(ge=0, le=1)]
Fall = Annotated[Decimal, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Minutes = Annotated[int, Field(ge=0, le=240)]
Share = Annotated[Decimal, Field(gt=0, le=1)] | None
Multiple = Annotated[Decimal, Field(gt=0, le=10)] | None

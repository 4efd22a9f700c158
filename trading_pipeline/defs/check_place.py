"""Where the watch over checks stands: what it has read, and which checks were broken when it had."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trading_pipeline.domain.errors import DataError

# One that is forgotten gets no word of its recovery; a cursor of megabytes would slow every look.
MOST_REMEMBERED = 2000


@dataclass(frozen=True)
class Broken:
    """A check of a partition (empty: the whole table) that failed last, and the key of the alert that said so."""

    check: str
    partition: str
    key: str


@dataclass(frozen=True)
class CheckPlace:
    """What was read of an instance's record, and what of it must be remembered.

    Attributes:
        after: every run whose end has this number, or a smaller one, is done.
        inside: number of a run's end, and how far the results of that run were read.
        runless: how far results that belong to no run were read; empty where none was.
        under_way: how far the results of each unfinished run were read.
        broken: checks that failed and did not pass since, oldest first.
    """

    after: int
    inside: tuple[int, str] | None = None
    runless: str = ""
    under_way: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()

    def failed(self, check: str, partition: str, key: str) -> "CheckPlace":
        """Remember that a check failed; one that failed before is remembered with both alerts."""
        found = Broken(check, partition, key)
        return self if found in self.broken else replace(self, broken=(*self.broken, found)[-MOST_REMEMBERED:])

    def passed(self, check: str, partition: str) -> tuple["CheckPlace", tuple[Broken, ...]]:
        """Forget what a pass of ``partition`` mends: failures of that partition and of earlier ones.

        >>> place = CheckPlace(0).failed("bars: fresh", "2026-07-30", "a").failed("bars: fresh", "2026-08-03", "b")
        >>> place, mended = place.passed("bars: fresh", "2026-07-31")
        >>> [broken.key for broken in mended], [broken.key for broken in place.broken]
        (['a'], ['b'])
        """
        mended = tuple(found for found in self.broken if found.check == check and found.partition <= partition)
        if not mended:
            return self, ()
        return replace(self, broken=tuple(found for found in self.broken if found not in mended)), mended

    def text(self) -> str:
        """Return the place as Dagster keeps it, the cursor of the sensor."""
        plain = {
            "after": self.after,
            "inside": self.inside,
            "runless": self.runless,
            "under_way": dict(self.under_way),
            "broken": [[found.check, found.partition, found.key] for found in self.broken],
        }
        return json.dumps(plain, separators=(",", ":"))


def place_from(text: str) -> CheckPlace:
    """Read what :meth:`CheckPlace.text` wrote.

    Raises:
        DataError: it is something else.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        inside = found["inside"]
        return CheckPlace(
            int(found["after"]),
            None if inside is None else (int(inside[0]), str(inside[1])),
            str(found["runless"]),
            {str(run): str(page) for run, page in found["under_way"].items()},
            tuple(Broken(*map(str, entry)) for entry in found["broken"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"the cursor of the watch over checks cannot be read ({type(error).__name__}: {error}); it begins anew, "
            f"nothing is told twice"
        ) from error

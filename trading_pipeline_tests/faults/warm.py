"""What a child has before it begins: imported by the server that children are forked from, for its effect.

Each child runs the imports of the program that started it, so these are here too.
"""

import pytest  # noqa: F401 - see above

from trading_pipeline.domain import sessions
from trading_pipeline_tests.faults import child, trial  # noqa: F401 - see above

# The calendar takes a second to build: once here, not in each of a thousand children.
sessions.sessions_between(child.FIRST_SESSION, child.FIRST_SESSION)

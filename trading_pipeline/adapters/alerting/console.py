"""Messages on standard error."""

import sys

from trading_pipeline.adapters.alerting.rendering import plain, subject
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import Message


class ConsoleChannel:
    """Prints messages where they are delivered."""

    name = "console"

    def send(self, message: Message) -> str:
        """Print a message on standard error.

        Raises:
            DependencyUnavailable: nobody reads it any more, or it cannot be written.
        """
        lines = [subject(message), *(f"  {line}" for line in plain(message).splitlines() if line)]
        shown = "".join(f"{''.join(_printable(sign) for sign in line)}\n" for line in lines)
        try:
            sys.stderr.write(shown)
            sys.stderr.flush()
        except (OSError, ValueError) as error:
            raise DependencyUnavailable(f"standard error cannot be written: {error}; look where it leads") from error
        return "printed on standard error"


def _printable(sign: str) -> str:
    # A control sign would let what is told of draw on the terminal.
    return sign if sign.isprintable() or sign == "\t" else "\N{REPLACEMENT CHARACTER}"

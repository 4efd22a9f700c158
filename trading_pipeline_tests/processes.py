"""Commands as processes of their own, that no test waits for without end."""

import os
import signal
import subprocess
from pathlib import Path

DEADLINE = 240


class Started(subprocess.Popen):
    """A running command; its words go to files, for a full pipe stops it and one left behind holds a pipe open."""

    def __init__(self, folder: Path, arguments: list[str], environment: dict[str, str], **more: object) -> None:
        self._folder = folder
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            super().__init__(arguments, env=environment, stdout=stdout, stderr=stderr, start_new_session=True, **more)

    def said(self) -> subprocess.CompletedProcess:
        """Return what it has said so far."""
        words = [(self._folder / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(self.args, self.poll(), *words)

    def finished(self, deadline: float = DEADLINE) -> subprocess.CompletedProcess:
        """Wait for its end and return what it said; end it where it does not come in time."""
        try:
            self.wait(deadline)
        finally:
            self.end()
        return self.said()

    def end(self) -> None:
        """Let it end what it started itself; kill all of it where it does not."""
        if self.poll() is None:
            self.terminate()
            try:
                self.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.wait()

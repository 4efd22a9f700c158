"""``trading-pipeline dev``: simulator, Dagster's UI and its daemon together, on this machine only."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.console import notices
from trading_pipeline.cli.options import BarsFile, HomeFolder, SettingsFile
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import Mode

if TYPE_CHECKING:
    from trading_pipeline.cli.workshop import Choice

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 3000
SECONDS_TO_STOP = 15


def dev(
    port: Annotated[int, typer.Option(help="Port of Dagster's UI on this machine.", min=0, max=65535)] = DEFAULT_PORT,
    bars: BarsFile = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Open the folder in Dagster's UI, with the daemon and, in mode simulated, the simulator; Ctrl-C stops all."""
    from trading_pipeline.cli.dashboard import served
    from trading_pipeline.cli.secrets import warn_of_secrets_in_environment
    from trading_pipeline.cli.workshop import chosen

    choice = chosen(settings_file, home, bars)
    warn_of_secrets_in_environment(choice.settings)
    _refuse_taken(port)
    choice.home.prepared()
    with ExitStack() as stack:
        if choice.settings.mode is Mode.SIMULATED:
            _simulator(choice, stack)
        _create_records(choice)
        notices().print(f"Dagster's UI: http://{LOOPBACK}:{port}   (Ctrl-C stops everything)")
        notices().print(f"Live page: {stack.enter_context(served(choice))}")
        server = stack.enter_context(_process("dagster-webserver", "-h", LOOPBACK, "-p", str(port), choice=choice))
        daemon = stack.enter_context(_process("dagster-daemon", "run", choice=choice))
        _wait_for_any(server, daemon)


def _refuse_taken(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise InvalidInput(f"port {port} cannot be used ({error.strerror}); choose another with --port") from None


def _simulator(choice: "Choice", stack: ExitStack) -> None:
    from trading_pipeline.adapters.clocks import WallClock
    from trading_pipeline.cli.days import decision_time
    from trading_pipeline.cli.workshop import simulator
    from trading_pipeline.domain.sessions import last_completed_session

    start = decision_time(last_completed_session(WallClock().now()))
    control = stack.enter_context(simulator(choice, start))
    if control is not None:
        notices().print(f"The simulator's clock stands at {control.now().isoformat()}")


def _create_records(choice: "Choice") -> None:
    """Create Dagster's databases before two processes would do so at once, of which one then ends with an error."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(choice.home.dagster)) as instance:
        instance.get_runs_count()
        instance.get_asset_keys()
        instance.all_instigator_state()


@contextmanager
def _process(*command: str, choice: "Choice") -> Iterator["subprocess.Popen[bytes]"]:
    # The programs lie beside this interpreter, whether or not its folder is on the search path.
    program = Path(sys.executable).with_name(command[0])
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(choice.home.dagster),
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore"),
    }
    arguments = [str(program), *command[1:], "-w", str(_workspace(choice))]
    # A session of its own: what Dagster starts below it ends with it.
    child = subprocess.Popen(arguments, env=environment, start_new_session=True)  # noqa: S603 - our own programs
    try:
        yield child
    finally:
        _end(child)


def _workspace(choice: "Choice") -> Path:
    # Written beside the instance, so that the command works from any folder and for an installed package.
    path = choice.home.dagster / "workspace.yaml"
    path.write_text(
        "load_from:\n  - python_module:\n      module_name: trading_pipeline.definitions\n"
        "      location_name: trading_pipeline\n",
        encoding="utf-8",
    )
    return path


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _wait_for_any(*children: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        while all(child.poll() is None for child in children):
            signal.sigtimedwait([signal.SIGCHLD], 1)
    except KeyboardInterrupt:
        notices().print("stopping")
        return
    raise InvalidInput("Dagster's webserver or daemon ended by itself; its last words are above")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt

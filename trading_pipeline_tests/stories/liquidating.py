"""The program that a liquidation is killed in: ``python -m trading_pipeline_tests.stories.liquidating HOME``.

It carries out the liquidation that was agreed to in a rehearsal's home folder, as a process that has just started.
"""

import sys
from pathlib import Path

from trading_pipeline.adapters.logs import configure_logging
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.application.liquidation import agreed
from trading_pipeline.cli.drills.stage import SETTINGS, RehearsedWorld
from trading_pipeline.defs.liquidation import carried_out, desk_of
from trading_pipeline.settings import LogFormat, LogLevel, Settings


def main() -> None:
    configure_logging(LogFormat.JSON, LogLevel.ERROR)
    world = RehearsedWorld(Settings.model_validate(SETTINGS), Home(Path(sys.argv[1])))
    desk = desk_of(world)
    sys.stdout.write(f"{carried_out(world, agreed(desk, world.portfolio().account_number))}\n")


if __name__ == "__main__":
    main()

"""The person's door: runs jobs, asks questions, prints answers."""

import sys
import warnings


def main() -> None:
    """Run the command line; a foreseen failure is one screen on standard error and exit code 1."""
    # Dagster marks checks on partitions as a preview; people who run commands can do nothing about it.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from trading_pipeline.adapters.neutral_streams import watch_streams

    watch_streams()
    from trading_pipeline.cli.app import app
    from trading_pipeline.cli.console import explain_failure
    from trading_pipeline.domain.errors import PipelineError

    try:
        app()
    except PipelineError as error:
        explain_failure(error)
        sys.exit(1)

import subprocess
import sys

HEAVY = ("dagster", "numpy", "pandas", "pandera", "talib", "deltalake")


def test_a_command_that_halts_trading_waits_for_no_frames_and_no_dagster():
    code = f"import sys, trading_pipeline.cli.app; sys.exit(' '.join(set({HEAVY!r}) & set(sys.modules)) or 0)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert said.stderr == ""
    assert said.returncode == 0

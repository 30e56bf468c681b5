"""`iroh relay` and `iroh dns`: the servers are programs of their own, which these run."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from iroh.cli import exits
from iroh.cli.console import Console

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> int:
    """Become the server; on Windows run it and wait. Raises CliError where it is not installed."""
    name = options.server
    beside = Path(sys.executable).with_name(name)  # a virtual environment that is not on the PATH
    program = shutil.which(name) or (shutil.which(str(beside)))
    if program is None:
        raise exits.CliError(
            f"{name} is not installed",
            f"from a checkout: pip install ./packages/iroh-base ./packages/{name}",
        )
    command = [program, *options.arguments]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(program, command)
    return subprocess.run(command, check=False).returncode

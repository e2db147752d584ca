"""The entry: runs a command and turns whatever goes wrong into a problem and an exit code, never a traceback."""

import os
import sys

import typer

from modelpress.cli import exits
from modelpress.cli.app import app


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Exit code of the command line `arguments`."""
    as_json = "--json" in arguments
    try:
        return app(arguments, prog_name="modelpress", standalone_mode=False) or exits.SUCCESS
    except typer.Abort:
        return exits.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        return exits.SUCCESS
    except Exception as error:
        if os.environ.get("MODELPRESS_DEBUG"):
            raise
        from modelpress.cli.failure import report

        return report(error, as_json)

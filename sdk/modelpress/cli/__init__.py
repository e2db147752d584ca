"""The command line. Commands import what they need when they run: `--help` is quick and needs nothing."""

from modelpress.cli.main import main

__all__ = ["main"]

"""Several processes as one: told to stop together, ended together."""

import signal
import subprocess
import time
from collections.abc import Sequence

POLL_S = 0.2


def run_together(commands: Sequence[Sequence[str]]) -> int:
    """Run until one ends or we are told to stop; the others then get SIGTERM and all the time they need.

    Returns:
        0 where we were told to stop, else the exit code of the one that ended first (1 for one that ended well:
        it should not have).
    """
    told: list[int] = []
    before = {
        each: signal.signal(each, lambda number, _: told.append(number)) for each in (signal.SIGTERM, signal.SIGINT)
    }
    processes = [subprocess.Popen(command) for command in commands]
    try:
        while not told and all(process.poll() is None for process in processes):
            time.sleep(POLL_S)
        codes = [process.returncode for process in processes if process.returncode is not None]
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if told else (codes[0] or 1)

"""Work in a process of its own, with a limit of time."""

import multiprocessing
from collections.abc import Callable
from typing import Any


def in_time(seconds: float, work: Callable[[], Any], late: Any, died: Any) -> Any:
    """What the work gives; `late` where it is not done by then, `died` where its process is gone."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(work()))
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(seconds) else late
    except EOFError:
        found = died
    process.kill()
    process.join()
    return found

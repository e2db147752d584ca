"""What this machine's processor does with eight-bit products."""

import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def saturates(machine: str | None = None, flags: str | None = None) -> bool:
    """Whether sums of two products of unsigned and signed bytes may overflow sixteen bits and are cut off.

    So it is on x86 without VNNI, where the instruction (VPMADDUBSW) adds pairs in sixteen bits: 2 x 255 x 127 does not
    fit, 2 x 255 x 63 does. Weights then need to keep to seven bits. Unknown processors count as the plainer kind.

    Args:
        machine: as platform.machine() says it; this machine if left out.
        flags: names of the processor's features; of this machine if left out.
    """
    machine = machine if machine is not None else platform.machine()
    if machine.lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    if flags is None:
        flags = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    return "vnni" not in flags

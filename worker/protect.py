"""The supervisor hides from its child, which runs as the same user."""

import ctypes
import sys

PR_SET_DUMPABLE = 4


def hide_memory() -> None:
    """Make environment and memory of this process unreadable to others of the same user (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)

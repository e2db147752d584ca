"""A supervisor's secrets: what another process of the same user can read of it."""

import os
import subprocess
import sys

import pytest

# Two processes of one user that is not root: root may read everything anyway. One hides or not, the other looks.
TWO_PROCESSES = """
import ctypes, os, sys
from worker.protect import hide_memory

def leave_root():
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # changing the user has hidden the memory already: show it again

ready, say_ready = os.pipe()
over, end = os.pipe()
supervisor = os.fork()
if supervisor == 0:
    leave_root()
    if sys.argv[1] == "hidden":
        hide_memory()
    os.write(say_ready, b"x")
    os.close(end)
    os.read(over, 1)
    os._exit(0)
os.read(ready, 1)
leave_root()
try:
    print("read" if b"s3cret" in open(f"/proc/{supervisor}/environ", "rb").read() else "empty")
except PermissionError:
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc to read")
@pytest.mark.parametrize("what, outcome", [("hidden", "refused"), ("plain", "read")])
def test_the_environment_of_a_hidden_process_is_refused_to_its_own_user(what: str, outcome: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES, what],
        env={**os.environ, "MODELPRESS_S3_SECRET_KEY": "s3cret"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == outcome

"""What a closed-in process can't do, tried from inside; each attempt is shown to work where nothing is closed."""

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.sandbox import ORPHANED
from core.sandbox.landlock import readable
from core.sandbox.syscalls import JUDGED, PRETENDED, PROCESSORS, REFUSED

linux = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and Landlock are Linux's")

PREAMBLE = """
import ctypes, os, socket, sys, threading
from pathlib import Path
from core.sandbox import close_in

job_dir, elsewhere, address = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if sys.argv[4] == "closed":
    close_in(job_dir)

def attempt():
{body}

try:
    attempt()
except (OSError, MemoryError, RuntimeError) as error:
    print(type(error).__name__)
else:
    print("done")
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "secret").write_text("s3cret")
    return folder


@pytest.fixture
def listener() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def start(
    body: str, tmp_path: Path, *, closed: bool = True, address: str = "", **variables: str
) -> subprocess.Popen[str]:
    job_dir = tmp_path / "job"
    job_dir.mkdir(exist_ok=True)
    script = PREAMBLE.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    command = [sys.executable, "-P", "-c", script, str(job_dir), str(tmp_path / "elsewhere"), address]
    return subprocess.Popen(
        [*command, "closed" if closed else "open"],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(body: str, tmp_path: Path, *, closed: bool = True, address: str = "", **variables: str) -> str:
    with start(body, tmp_path, closed=closed, address=address, **variables) as process:
        output, errors = process.communicate()
    assert errors == ""
    return output.strip()


@linux
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("host, port = address.split(':'); socket.create_connection((host, int(port)))", id="connect-out"),
        pytest.param("socket.socket(socket.AF_UNIX).connect(str(elsewhere / 'door'))", id="connect-to-a-socket-file"),
        pytest.param("Path(f'/proc/{os.getppid()}/environ').read_bytes()", id="read-the-environment-of-the-supervisor"),
        pytest.param("open(f'/proc/{os.getppid()}/mem', 'rb').close()", id="open-the-memory-of-the-supervisor"),
        pytest.param(
            """
            here, there = ctypes.create_string_buffer(8), ctypes.c_void_p
            libc = ctypes.CDLL(None, use_errno=True)
            parts = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
            if libc.process_vm_readv(os.getppid(), parts, 1, parts, 0, 0) < 0:
                raise OSError(ctypes.get_errno(), "process_vm_readv")
            """,
            id="read-the-memory-of-the-supervisor",
        ),
        pytest.param("(elsewhere / 'secret').read_text()", id="read-a-secret-file"),
        pytest.param("os.listdir(elsewhere)", id="list-a-folder"),
        pytest.param("(elsewhere / 'new').write_text('x')", id="write-outside"),
        pytest.param("(elsewhere / 'secret').unlink()", id="delete-outside"),
        pytest.param("os.truncate(elsewhere / 'secret', 0)", id="truncate-outside"),
        pytest.param("os.symlink('/etc', job_dir / 'etc')", id="leave-a-symbolic-link"),
        pytest.param("os.link(elsewhere / 'secret', job_dir / 'mine')", id="leave-a-hard-link"),
        pytest.param("os.mkfifo(job_dir / 'pipe')", id="leave-a-pipe"),
        pytest.param("os.waitpid(os.fork() or os._exit(0), 0)", id="fork"),
        pytest.param("os.execv('/bin/true', ['true'])", id="start-another-program"),
        pytest.param("os.kill(os.getppid(), 0)", id="signal-the-supervisor"),
        pytest.param("os.close(os.memfd_create('hidden'))", id="memory-outside-every-limit"),
        pytest.param("os.setxattr(elsewhere / 'secret', 'user.a', b'b')", id="mark-a-file-outside"),
    ],
)
def test_what_works_in_the_open_fails_inside(body: str, tmp_path: Path, elsewhere: Path, listener: str) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(elsewhere / "door"))
        door.listen()
        inside = outcome(body, tmp_path, address=listener)
        assert inside in {"PermissionError", "OSError"}
        # /bin/true says nothing; everything else says that it is done
        assert outcome(body, tmp_path, address=listener, closed=False) in {"done", ""}


@linux
def test_modes_outside_stay_as_they_are(tmp_path: Path, elsewhere: Path) -> None:
    (elsewhere / "secret").chmod(0o600)
    assert outcome("(elsewhere / 'secret').chmod(0o777)", tmp_path) == "done"
    assert (elsewhere / "secret").stat().st_mode & 0o777 == 0o600


@linux
@pytest.mark.parametrize(
    "body",
    [
        "a = job_dir / 'in' / 'a'; a.parent.mkdir(); a.write_text('x'); os.replace(a, job_dir / 'b'); a.parent.rmdir()",
        "import shutil; a = job_dir / 'a'; a.write_text('x'); shutil.copy2(a, job_dir / 'b'); a.unlink()",
        "thread = threading.Thread(target=Path('/proc/self/status').read_text); thread.start(); thread.join()",
        "import numpy; assert (numpy.ones((64, 64)) @ numpy.ones((64, 64)))[0, 0] == 64",
        "import modelpress.job; modelpress.job.Job()",
        "a, b = socket.socketpair(); a.sendall(b'x'); assert b.recv(1) == b'x'",
    ],
)
def test_a_computation_can_still(body: str, tmp_path: Path) -> None:
    assert outcome(body, tmp_path) == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no RLIMIT_DATA")
def test_allocating_without_end_is_a_memory_error(tmp_path: Path) -> None:
    body = """
    kept = []
    while len(kept) < 16:
        kept.append(bytearray(16 << 20))
    """
    assert outcome(body, tmp_path, MODELPRESS_MEMORY_BYTES=str(256 << 20)) == "MemoryError"


def test_a_file_grows_to_its_limit_only(tmp_path: Path) -> None:
    body = "with open(job_dir / 'a', 'wb') as file:\n    file.write(bytes(2 << 20)); file.flush()"
    assert outcome(body, tmp_path, MODELPRESS_FILE_BYTES=str(1 << 20)) == "OSError"


def test_closing_in_after_a_thread_started_is_refused(tmp_path: Path) -> None:
    body = "threading.Thread(target=threading.Event().wait, daemon=True).start(); close_in(job_dir)"
    assert outcome(body, tmp_path, closed=False) == "RuntimeError"


def test_it_ends_when_its_standard_input_closes(tmp_path: Path) -> None:
    with start("threading.Event().wait()", tmp_path, MODELPRESS_SUPERVISED="1") as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == ORPHANED


@linux
def test_it_ends_when_the_thread_that_started_it_ends(tmp_path: Path) -> None:
    started = []

    def supervise() -> None:
        body = "sys.stdout.write('up\\n'); sys.stdout.flush(); threading.Event().wait()"
        process = start(body, tmp_path, MODELPRESS_SUPERVISED="1")
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        started.append(process)

    thread = threading.Thread(target=supervise)
    thread.start()
    thread.join()
    with started[0] as process:
        assert process.wait() == -9


@linux
def test_the_machine_is_asked_how_far_it_goes(tmp_path: Path) -> None:
    answer = subprocess.run([sys.executable, "-P", "-m", "core.sandbox"], capture_output=True, check=True, text=True)
    assert json.loads(answer.stdout)["level"] == "full"


def test_no_list_of_what_may_be_read_holds_the_folder_we_are_installed_from() -> None:
    root = Path(__file__).parents[2]
    assert not [path for path in readable(cuda=True) if root == Path(path) or Path(path) in root.parents]


HEADERS = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h")]


@pytest.mark.skipif(not all(map(Path.exists, HEADERS)), reason="the kernel's headers are not installed here")
@pytest.mark.parametrize("column, header", list(enumerate(HEADERS)))
def test_the_numbers_are_those_of_the_kernel(column: int, header: Path) -> None:
    kernel = {m[1]: int(m[2]) for m in re.finditer(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())}
    ours = {name: row[column] for name, row in (REFUSED | PRETENDED | JUDGED).items()}
    assert {name: number for name, number in ours.items() if number not in (None, kernel.get(name, number))} == {}


def test_no_number_stands_twice() -> None:
    for processor in PROCESSORS.values():
        numbers = [n for table in (REFUSED, PRETENDED, JUDGED) for n in processor.numbers(table)]
        assert len(numbers) == len(set(numbers))

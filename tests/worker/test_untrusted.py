"""What a computation writes is taken as hostile: events, text, checkpoints, outputs."""

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpress.events import Progress, WarningEvent
from modelpress.problem import Problem
from modelpress.result import Result
from worker import checkpoints
from worker.events import MOST_LINE_BYTES, EventTail
from worker.outputs import keep_artifacts, read_outcome
from worker.supervise import run_next_job
from worker.text import PlainText, plain

from .conftest import PROJECT, MakeWorld, World

PROGRESS = b'{"type": "progress", "phase": "measuring", "fraction": 0.5}\n'


def test_whole_lines_are_read_once_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_bytes(PROGRESS + PROGRESS[:20])
    assert tail.read() == [Progress(phase="measuring", fraction=0.5)]
    assert tail.read() == []
    with path.open("ab") as file:
        file.write(PROGRESS[20:])
    assert len(tail.read()) == 1
    tail.close()


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b'{"type": "state", "state": "succeeded"}\n',
        b'{"type": "progress", "phase": "x", "fraction": 7}\n',
        b'{"type": "warning", "code": "c", "message": "' + b"a" * MOST_LINE_BYTES + b'"}\n',
        b"[" * MOST_LINE_BYTES + b"\n",
        b"\xff\xfe\n",
    ],
)
def test_what_is_no_event_is_left_out_and_counted(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line + PROGRESS)
    tail = EventTail(path)
    assert tail.read() == [Progress(phase="measuring", fraction=0.5)]
    assert tail.refused == 1
    tail.close()


def test_a_line_without_end_is_skipped_and_what_follows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"a" * (1 << 20) + b"\n" + PROGRESS)
    tail = EventTail(path)
    found = [event for _ in range(8) for event in tail.read()]
    assert found == [Progress(phase="measuring", fraction=0.5)]
    tail.close()


def link_softly(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(PROGRESS)
    path.symlink_to(path.with_name("elsewhere"))


def link_firmly(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(PROGRESS)
    path.hardlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("make", [link_softly, link_firmly, os.mkfifo, os.mkdir])
def test_events_are_read_from_a_plain_file_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "events.jsonl")
    tail = EventTail(tmp_path / "events.jsonl")
    assert tail.read() == []
    tail.close()


def test_texts_in_events_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"type": "warning", "code": "c", "message": "\x1b[31mred\x1b[0m\x07\x00!"}) + "\n")
    tail = EventTail(path)
    assert tail.read() == [WarningEvent(code="c", message="red!")]
    tail.close()


@pytest.mark.parametrize(
    "text, harmless",
    [
        ("a\x1b]0;title\x07b", "ab"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("\x1b[2J\x1b[1;31mx", "x"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("right\u202eleft", "rightleft"),
        ("\x9b31mx", "31mx"),
    ],
)
def test_terminal_sequences_and_control_characters_are_taken_out(text: str, harmless: str) -> None:
    assert plain(text) == harmless


def test_a_character_cut_in_two_is_put_together() -> None:
    text = PlainText()
    first, second = "é".encode()[:1], "é".encode()[1:]
    assert text.feed(first) + text.feed(second) + text.feed(b"\xff", last=True) == "é\ufffd".encode()


def test_a_flood_of_output_is_stored_in_bounds(make_world: MakeWorld, sqlite_url: str) -> None:
    world = make_world(sqlite_url, log_bytes=4096)
    job_id = world.job()
    run_next_job(world.place("print('first'); sys.stdout.write('x' * (2 << 20)); print('\\nlast'); end()"))
    log = world.log(job_id)
    assert log.startswith("first\n")
    assert log.endswith("last\n")
    assert len(log) < 256 << 10


def test_a_checkpoint_survives_packing(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "step-1").mkdir(parents=True)
    (source / "step-1" / "tensors").write_bytes(b"\0\1\2")
    (source / "index").write_text("1")
    target.mkdir()
    assert checkpoints.pack(source, tmp_path / "packed")
    checkpoints.unpack(tmp_path / "packed", target)
    assert (target / "step-1" / "tensors").read_bytes() == b"\0\1\2"
    assert (target / "index").read_text() == "1"


def test_only_plain_files_get_into_a_packed_checkpoint(tmp_path: Path) -> None:
    source, secret = tmp_path / "source", tmp_path / "secret"
    source.mkdir()
    secret.write_text("s3cret")
    (source / "link").symlink_to(secret)
    (source / "folder").symlink_to(tmp_path)
    os.link(secret, source / "hard")
    os.mkfifo(source / "pipe")
    assert not checkpoints.pack(source, tmp_path / "packed")
    assert b"s3cret" not in (tmp_path / "packed").read_bytes()


@pytest.mark.parametrize("name", ["../escape", "/tmp/modelpress-escape", "a/../../escape"])
def test_a_packed_checkpoint_can_not_lead_outside(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "packed", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "target").mkdir()
    with pytest.raises(ValueError, match="not a file of a checkpoint"):
        checkpoints.unpack(tmp_path / "packed", tmp_path / "target")
    assert not (tmp_path / "escape").exists()


@pytest.mark.parametrize(
    "content, kind",
    [
        ('{"candidates": []}', Result),
        ('{"code": "model_invalid", "title": "t", "status": 422}', Problem),
        ('{"code": "model_invalid"}', type(None)),
        ("[]", type(None)),
        ("nonsense", type(None)),
    ],
)
def test_a_result_is_a_result_a_problem_or_nothing(tmp_path: Path, content: str, kind: type) -> None:
    (tmp_path / "result.json").write_text(content)
    assert isinstance(read_outcome(tmp_path), kind)


def test_only_files_of_its_own_become_artifacts(world: World) -> None:
    job_dir = world.folder / "job"
    (job_dir / "outputs" / "sub").mkdir(parents=True)
    secret = world.folder / "secret"
    secret.write_text("s3cret")
    (job_dir / "outputs" / "link").symlink_to(secret)
    os.link(secret, job_dir / "outputs" / "hard")
    (job_dir / "outputs" / "good.json").write_text("{}")
    names = ["link", "hard", "sub", "missing", "../../secret", "sub/../good.json", "/etc/passwd", "", "good.json"]
    result = Result.model_validate({"artifacts": [{"name": name, "bytes": 1, "sha256": "x"} for name in names]})
    made = keep_artifacts(world.place(""), PROJECT, job_dir, result)
    assert [item.name for item in made] == ["good.json"]
    assert [(item.name, item.bytes) for item in result.artifacts] == [("good.json", 2)]

"""`python -P -m core JOB_DIR` as others start it: exit codes, being killed, being told to stop."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import fx

import core
from core import exits
from core.__main__ import crash
from tests.core.job_folders import events_of, job_folder, run_core, start_core

PRUNE = {"technique": "prune.filters", "ratio": 0.5, "round_to": 2}
LONG = {"technique": "recover", "epochs": 200, "patience": 1000}


def wait_for(process, folder, is_there):
    """Until an event is there that fits; fails if the process ends before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = folder / "events.jsonl"
        whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
        if any(is_there(json.loads(line)) for line in whole):
            return
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)
    pytest.fail("the event did not come")


def in_the_second_step(event):
    return event["type"] == "progress" and event["step"] == 1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = job_folder(tmp_path_factory.mktemp("undisturbed") / "job", [PRUNE, LONG])
    code, result = run_core(folder)
    assert code == exits.RESULT
    return folder, result


def test_a_job_closed_in_writes_its_result(undisturbed):
    folder, result = undisturbed
    assert result["best"] == "1-recover"
    assert (folder / "outputs" / "report.html").is_file()


def test_killed_in_the_middle_of_a_step_and_resumed_gives_the_undisturbed_model(undisturbed, tmp_path):
    folder = job_folder(tmp_path / "job", [PRUNE, LONG])
    process = start_core(folder)
    wait_for(process, folder, in_the_second_step)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    assert not list((folder / "outputs").iterdir())

    code, result = run_core(folder)
    assert code == exits.RESULT
    assert result["best"] == "1-recover"
    started = [event["step"] for event in events_of(folder) if event["type"] == "step.started"]
    assert started == [0, 1, 1]
    expected = (undisturbed[0] / "outputs" / "model.onnx").read_bytes()
    assert (folder / "outputs" / "model.onnx").read_bytes() == expected


def test_told_to_stop_it_ends_between_two_batches_and_writes_no_result(tmp_path):
    folder = job_folder(tmp_path / "job", [PRUNE, {**LONG, "epochs": 9000}])
    process = start_core(folder)
    wait_for(process, folder, in_the_second_step)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == exits.STOPPED
    assert not (folder / "result.json").exists()


def test_a_problem_is_written_and_told_by_the_exit_code(tmp_path):
    folder = job_folder(tmp_path / "job", [])
    (folder / "inputs" / "model.onnx").write_text("this is no model")
    code, problem = run_core(folder)
    assert code == exits.PROBLEM
    assert problem["code"] == "model_not_onnx"
    assert problem["hint"]
    assert not list((folder / "outputs").iterdir())


def test_a_step_that_can_t_do_what_it_was_asked_ends_as_its_own_problem(tmp_path):
    too_little = {"technique": "prune.filters", "ratio": 0.01, "scope": "layer"}
    code, problem = run_core(job_folder(tmp_path / "job", [too_little]))
    assert code == exits.PROBLEM
    assert problem["code"] == "step_failed"
    assert "rounding" in problem["detail"]
    assert "round_to" in problem["hint"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"contract": 99}', '{"seed": -1}', '{"recipe": [{"technique": "no.such"}]}', None],
)
def test_a_bad_job_has_an_exit_code_of_its_own(tmp_path, text):
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    code, problem = run_core(tmp_path)
    assert code == exits.BAD_JOB
    assert problem["code"] == "request_invalid"


def test_without_a_folder_there_is_a_usage_line(tmp_path):
    process = start_core(tmp_path / "none")
    _, error = process.communicate()
    assert process.returncode == exits.USAGE
    assert error.startswith(b"usage: ")


def test_hashing_needs_no_torch(tmp_path):
    folder = job_folder(tmp_path / "job", [], kind="verify")
    (folder / "inputs" / "model.onnx").write_text("whatever")
    script = (
        "import sys; from core.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit(code or bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, cwd=Path(core.__path__[0]).parent)
    result = json.loads((folder / "result.json").read_text())
    assert [artifact["name"] for artifact in result["artifacts"]] == ["model.onnx", "train.npz"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_running_out_of_memory_is_told_apart_from_a_crash(tmp_path, error, capsys):
    assert crash(tmp_path, error) == exits.OUT_OF_MEMORY
    problem = json.loads((tmp_path / "result.json").read_text())
    assert (problem["code"], problem["category"]) == ("out_of_memory", "resource")


def test_a_problem_s_detail_holds_nothing_of_the_tracer(tmp_path, capsys):
    graph = fx.symbolic_trace(torch.nn.Linear(5, 4))
    with pytest.raises(RuntimeError) as failure:
        fx.Interpreter(graph).run(torch.zeros(1, 4))
    assert "While executing" in str(failure.value)
    crash(tmp_path, failure.value)
    detail = json.loads((tmp_path / "result.json").read_text())["detail"]
    assert detail == "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x4 and 5x4)"


def test_a_crash_is_a_problem_of_ours_with_the_trace_in_the_log(tmp_path, capsys):
    assert crash(tmp_path, KeyError("x")) == exits.PROBLEM
    assert json.loads((tmp_path / "result.json").read_text())["code"] == "internal"
    assert "KeyError" in capsys.readouterr().err

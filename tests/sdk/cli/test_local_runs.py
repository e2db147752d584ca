"""`run` and `inspect` on this machine, through the real computation in its own process."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from modelpress import local
from modelpress.cli import exits
from modelpress.cli.main import run
from modelpress.job import Job
from modelpress.problem import ProblemError
from modelpress.result import Result


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x (n, 4) -> Gemm fc to 3 classes."""
    random = np.random.default_rng(0)
    weight = numpy_helper.from_array(random.normal(size=(3, 4)).astype("float32"), "fc.weight")
    bias = numpy_helper.from_array(np.zeros(3, "float32"), "fc.bias")
    tensor = helper.make_tensor_value_info
    node = helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], name="fc", transB=1)
    inputs, outputs = [tensor("x", TensorProto.FLOAT, ["n", 4])], [tensor("y", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph([node], "g", inputs, outputs, [weight, bias])
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("data") / "d.npz"
    np.savez(path, x=random.normal(size=(60, 4)).astype("float32"), labels=np.arange(60) % 3)
    return path


def test_inspect_prints_what_a_model_is(model: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["inspect", str(model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [tensor["name"] for tensor in found["inputs"]] == ["x"]
    assert [tensor["name"] for tensor in found["outputs"]] == ["y"]
    assert found["operators"] == {"Gemm": {"count": 1, "native": True}}
    assert (found["parameters"], found["macs"], found["bytes"]) == (15, 12, model.stat().st_size)


def test_run_leaves_a_model_that_runs_and_a_result(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, kept = tmp_path / "out", tmp_path / "job"
    arguments = ["run", "[]", str(model), "--train", str(data), "--labels", "labels", "--out", str(out)]
    assert run([*arguments, "--keep", str(kept)]) == 0
    assert "top1" in capsys.readouterr().out
    assert {"model.onnx", "result.json", "report.json", "report.html", "recipe.yaml"} <= {p.name for p in out.iterdir()}
    x = np.load(data)["x"]
    before, after = (ort.InferenceSession(path).run(None, {"x": x})[0] for path in (model, out / "model.onnx"))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    result = Result.model_validate_json((out / "result.json").read_text())
    assert result.best == "original"
    assert {"top1", "parameters", "macs", "bytes"} <= {figure.metric for figure in result.candidates[0].measurements}
    job = Job.model_validate_json((kept / "job.json").read_text())
    assert job.task.type == "classification"
    assert (kept / "inputs" / "model.onnx").stat().st_ino != model.stat().st_ino


def test_a_text_file_is_told_to_be_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "m.onnx").write_text("this is no model\n" * 10)
    assert run(["run", "[]", str(tmp_path / "m.onnx"), "--out", str(tmp_path / "out"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["code"].startswith("model_")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_computation_that_dies_is_told_with_its_last_words(model: Path, tmp_path: Path):
    folder = tmp_path / "job"
    local.prepare(folder, Job(kind="inspect"), model)
    (folder / "job.json").write_text("{}broken")
    with pytest.raises(ProblemError) as raised:
        local.run(folder, lambda event: None)
    assert raised.value.detail


def test_an_interrupt_ends_the_computation_too(model: Path, data: Path, tmp_path: Path):
    recipe = '[{"technique": "recover", "epochs": 10000, "patience": 1000}]'
    arguments = ["run", recipe, str(model), "--train", str(data), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", "from modelpress.cli import main; main()", *arguments]
    started = subprocess.Popen([*command, "--keep", str(tmp_path / "job")], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "job" / "events.jsonl").exists():
        assert started.poll() is None
        time.sleep(0.05)
    children = psutil.Process(started.pid).children(recursive=True)
    assert children
    started.send_signal(signal.SIGINT)
    assert started.wait(20) == exits.INTERRUPTED
    assert "Traceback" not in started.communicate()[1]
    assert not any(child.is_running() for child in children)
    assert not (tmp_path / "out").exists()


def test_a_job_folder_that_is_there_is_not_written_over(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["run", "[]", str(model), "--out", str(tmp_path / "out"), "--keep", str(tmp_path)]
    assert run(arguments) == 2
    assert "already there" in capsys.readouterr().err


def test_data_are_copied_under_names_that_can_not_clash(model: Path, tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.onnx").write_text(folder)
    format = local.DatasetFormat(format="idx")
    train = local.LocalData([tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx"], format)
    job = local.prepare(tmp_path / "job", Job(), model, train, train)
    assert job.data.train is not None
    assert job.data.eval is not None
    names = [*job.data.train.files, *job.data.eval.files]
    assert [(tmp_path / "job" / "inputs" / name).read_text() for name in names] == ["a", "b", "a", "b"]
    assert (tmp_path / "job" / "inputs" / "model.onnx").read_bytes() == model.read_bytes()


def test_a_checkpoint_is_inspected_and_run_by_the_name_of_its_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    weights = {"fc1.weight": (30, 4), "fc1.bias": (30,), "fc2.weight": (10, 30), "fc2.bias": (10,)}
    weights |= {"fc3.weight": (3, 10), "fc3.bias": (3,)}
    random = np.random.default_rng(0)
    tensors = {name: random.normal(size=size).astype(np.float32) for name, size in weights.items()}
    save_file(tensors, tmp_path / "w.safetensors")
    known = ["--architecture", '{"name": "lenet_300_100", "width": 0.1}', "--input-shape", "4"]
    assert run(["inspect", str(tmp_path / "w.safetensors"), *known, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == sum(tensor.size for tensor in tensors.values())
    assert run(["run", "[]", str(tmp_path / "w.safetensors"), *known, "--out", str(tmp_path / "out")]) == 0
    session = ort.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 4]


@pytest.mark.parametrize(
    "options, said",
    [
        (["--architecture", "lenet_6"], "/name"),
        (["--architecture", "{name: ["], "neither a name nor JSON"),
        (["--architecture", "lenet_5", "--input-shape", "3,a,32"], "--input-shape is channels,height,width"),
        (["--input-shape", "3,32,32"], "give its --architecture too"),
    ],
)
def test_an_architecture_that_makes_no_sense_is_told_before_anything_runs(
    model: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert run(["inspect", str(model), *options]) != 0
    assert said in " ".join(capsys.readouterr().err.split())

"""SDK and command line against the real service over loopback, with the real computation behind it."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from modelpress.cli import exits
from modelpress.cli.main import run
from modelpress.client import AsyncClient, Client, JobCancelled
from modelpress.client.credentials import find_credentials
from modelpress.problem import (
    ArchitectureInvalid,
    CheckpointMismatch,
    DataError,
    ModelError,
    NotFound,
    ProblemError,
    RecipeInvalid,
    RequestInvalid,
)
from modelpress.resources import Dataset, Event, Model

STARTING_SECONDS = 60
Followed = tuple[str, list[Event]]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of an embedded service that is up."""
    folder = tmp_path_factory.mktemp("service")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELPRESS_")}
    command = [sys.executable, "-P", "-m", "server", "up", "--port", "0", "--data-dir", str(folder)]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=clean)
    try:
        deadline = time.monotonic() + STARTING_SECONDS
        while not (folder / "url").exists():
            assert service.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield folder
    finally:
        service.terminate()
        service.wait(20)


@pytest.fixture(autouse=True)
def found_by_its_data_folder(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPRESS_DATA_DIR", str(data_dir))
    monkeypatch.delenv("MODELPRESS_URL", raising=False)
    monkeypatch.delenv("MODELPRESS_API_KEY", raising=False)


@pytest.fixture
def client(found_by_its_data_folder: None) -> Iterator[Client]:
    with Client(progress=False) as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `tiny.onnx`, x (n, 8) -> fc1 (16) -> fc2 (3), `big.onnx` with external data, and `d.npz`."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=size).astype("float32") for name, size in (("fc1", (16, 8)), ("fc2", (3, 16)))}
    tensor = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Gemm", ["x", "fc1.weight"], ["h"], name="fc1", transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "fc2.weight"], ["y"], name="fc2", transB=1),
    ]
    initializers = [numpy_helper.from_array(value, f"{name}.weight") for name, value in weights.items()]
    inputs, outputs = [tensor("x", TensorProto.FLOAT, ["n", 8])], [tensor("y", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "tiny.onnx")
    onnx.save(model, folder / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    x = random.normal(size=(90, 8)).astype("float32")
    np.savez(folder / "d.npz", x=x, labels=np.arange(90) % 3)
    return folder


def client_of(data_dir: Path) -> Client:
    return Client((data_dir / "url").read_text().strip(), (data_dir / "key").read_text().strip(), progress=False)


@pytest.fixture(scope="module")
def tiny(data_dir: Path, files: Path) -> Model:
    with client_of(data_dir) as client:
        return client.models.upload(files / "tiny.onnx", name="tiny")


@pytest.fixture(scope="module")
def data(data_dir: Path, files: Path) -> Dataset:
    with client_of(data_dir) as client:
        return client.datasets.upload(files / "d.npz", labels="labels")


@pytest.fixture(scope="module")
def followed(data_dir: Path, tiny: Model, data: Dataset) -> Followed:
    """The id of a job that succeeded, and what it said while it ran."""
    events: list[Event] = []
    with client_of(data_dir) as client:
        job = client.jobs.create(tiny, [], train=data, task={"type": "classification"}, name="nothing")
        job.wait(timeout=180, on_event=events.append)
    return job.id, events


def test_a_model_is_looked_at_when_it_arrives(tiny: Model, files: Path):
    assert tiny.state == "ready"
    assert tiny.inspection is not None
    assert [layer.name for layer in tiny.inspection.layers] == ["fc1", "fc2"]
    assert tiny.files[0].sha256 == hashlib.sha256((files / "tiny.onnx").read_bytes()).hexdigest()


def numbers(events: list[Event]) -> list[int]:
    return [event.seq for event in events if event.type != "progress"]


def test_a_job_tells_each_event_once_and_in_order(client: Client, followed: Followed):
    job_id, events = followed
    assert numbers(events) == list(range(1, len(numbers(events)) + 1))
    assert [event.data["state"] for event in events if event.type == "state"][-1] == "succeeded"
    last = numbers(events)[-1]
    assert numbers(list(client.jobs.get(job_id).stream(after=last - 1))) == [last]


def test_what_a_job_made_comes_back_whole(client: Client, followed: Followed, files: Path, tmp_path: Path):
    job = client.jobs.get(followed[0])
    assert job.result is not None
    assert job.result.best == "original"
    paths = {path.name: path for path in job.artifacts.download(tmp_path)}
    assert {"model.onnx", "report.json", "report.html", "recipe.yaml"} <= set(paths)
    for artifact in job.artifacts.list():
        assert hashlib.sha256(paths[artifact.name].read_bytes()).hexdigest() == artifact.sha256
    x = np.load(files / "d.npz")["x"]
    models = files / "tiny.onnx", paths["model.onnx"]
    before, after = (ort.InferenceSession(path).run(None, {"x": x})[0] for path in models)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_the_asynchronous_client_does_the_same(followed: Followed, tiny: Model, tmp_path: Path):
    async def work() -> tuple[list[Event], list[Path], str]:
        async with AsyncClient(progress=False) as client:
            job = await client.jobs.get(followed[0])
            events = [event async for event in job.stream()]
            again = await job.rerun()
            await again.cancel()
            await again.wait(timeout=60, raise_on_failure=False)
            return events, list(await job.artifacts.download(tmp_path, names=["model.onnx"])), again.state

    events, paths, state = asyncio.run(work())
    assert numbers(events) == numbers(followed[1])
    assert [path.name for path in paths] == ["model.onnx"]
    assert state == "cancelled"


def test_a_model_with_external_data_is_sent_whole(client: Client, files: Path):
    model = client.models.upload(files / "big.onnx", wait=False)
    assert sorted(file.path for file in model.files) == ["big.data", "big.onnx"]
    client.models.delete(model.id)


def test_the_same_bytes_are_not_sent_twice(client: Client, tiny: Model, files: Path):
    assert client.uploads.create(files / "tiny.onnx").transfer.mode == "none"


def test_a_file_that_is_no_model_is_rejected_with_the_reason(client: Client, tmp_path: Path):
    (tmp_path / "m.onnx").write_text("words\n" * 50)
    with pytest.raises(ModelError) as raised:
        client.models.upload(tmp_path / "m.onnx")
    assert raised.value.code.startswith("model_")
    assert any(model.state == "rejected" for model in client.models.list())


@pytest.mark.parametrize(
    "recipe, pointer",
    [
        ([{"technique": "prune.filters", "layers": "fc3"}], "/recipe/0/layers/names/0"),
        ([{"technique": "lowrank.tucker"}], "/recipe/0/layers"),
    ],
)
def test_a_recipe_that_does_not_fit_the_model_is_refused_at_submit(client: Client, tiny: Model, recipe, pointer: str):
    with pytest.raises(RequestInvalid) as raised:
        client.jobs.create(tiny, recipe)
    assert [error.pointer for error in raised.value.errors] == [pointer]


def test_an_unknown_built_in_recipe_is_refused(client: Client, tiny: Model):
    with pytest.raises(RecipeInvalid, match="int8"):
        client.jobs.create(tiny, "int7")


def test_a_dry_run_says_what_to_expect_and_creates_nothing(client: Client, tiny: Model):
    before = [job.id for job in client.jobs.list()]
    estimate = client.jobs.estimate(tiny, "int8")
    assert estimate.valid
    assert estimate.recipe[0]["technique"] == "quantize.int8"
    assert [job.id for job in client.jobs.list()] == before


def test_a_job_is_cancelled_and_cancelled_again(client: Client, tiny: Model, data: Dataset):
    job = client.jobs.create(tiny, [{"technique": "recover", "epochs": 10_000, "patience": 1000}], train=data)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.wait(timeout=60)
    assert job.cancel().state == "cancelled"


def test_what_is_not_there_is_not_found(client: Client):
    with pytest.raises(NotFound):
        client.jobs.get("job_00000000000000000000000000")


def test_an_upload_that_was_only_announced_is_resumed(client: Client, tmp_path: Path):
    path = tmp_path / "part.bin"
    path.write_bytes(os.urandom(1000))
    announced = {"filename": "part.bin", "size_bytes": 1000, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    headers = {"Authorization": f"Bearer {found_key(client)}"}
    upload = httpx.post(f"{client.base_url}/v1/uploads", json=announced, headers=headers).json()
    assert upload["state"] == "pending"
    assert client.uploads.resume(upload["id"], path).state == "completed"
    assert client.uploads.get(upload["id"]).state == "completed"


def test_a_file_that_is_not_the_one_announced_is_not_taken(client: Client, tmp_path: Path):
    path = tmp_path / "part.bin"
    path.write_bytes(os.urandom(1000))
    announced = {"filename": "part.bin", "size_bytes": 1000, "sha256": "0" * 64}
    headers = {"Authorization": f"Bearer {found_key(client)}"}
    upload = httpx.post(f"{client.base_url}/v1/uploads", json=announced, headers=headers).json()
    with pytest.raises(ProblemError) as raised:
        client.uploads.resume(upload["id"], path)
    assert raised.value.code == "upload_mismatch"


def found_key(client: Client) -> str:
    return find_credentials(client.base_url).api_key


def test_the_service_says_what_it_is(client: Client):
    assert client.service.is_ready()
    assert client.service.version().contract == 1
    catalogue = client.techniques.catalogue()
    assert {"int8", "half_the_macs", "small_and_fast"} <= {recipe.name for recipe in catalogue.recipes}


def test_a_key_is_made_used_and_revoked(client: Client):
    made = client.keys.create("for a test", scope="read")
    assert made.key
    with Client(client.base_url, made.key, progress=False) as reader:
        list(reader.jobs.list())
    client.keys.revoke(made.id)
    assert next(key for key in client.keys.list() if key.id == made.id).revoked_at


def test_bad_data_are_rejected(client: Client, tmp_path: Path):
    np.savez(tmp_path / "d.npz", x=np.zeros(3))
    with pytest.raises((DataError, RequestInvalid)):
        client.datasets.upload(tmp_path / "d.npz", format="pickle")


def output(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip()


def test_the_commands_that_send(files: Path, tiny: Model, capsys: pytest.CaptureFixture[str]):
    assert run(["upload", str(files / "d.npz"), "--labels", "labels", "--json"]) == 0
    dataset = json.loads(output(capsys))["id"]
    assert run(["submit", "[]", tiny.id, "--train", dataset, "--dry-run"]) == 0
    assert "valid" in output(capsys)
    assert run(["submit", "[]", tiny.id, "--train", dataset, "--json"]) == 0
    job = json.loads(output(capsys))
    assert job["task"]["type"] == "classification"
    assert run(["cancel", job["id"]]) == 0
    assert "cancel" in output(capsys)
    assert run(["watch", job["id"], "--json"]) == exits.BY_CATEGORY["cancelled"]
    assert json.loads(output(capsys).splitlines()[-1])["code"] == "job_cancelled"


def test_the_commands_that_fetch(followed: Followed, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    job = followed[0]
    assert run(["watch", job, "--json"]) == 0
    lines = [json.loads(line) for line in output(capsys).splitlines()]
    assert [line["seq"] for line in lines[:-1] if line["type"] != "progress"] == numbers(followed[1])
    assert lines[-1]["state"] == "succeeded"
    assert run(["watch", job]) == 0
    assert "top1" in output(capsys)
    assert run(["jobs", "--json"]) == 0
    assert job in [listed["id"] for listed in json.loads(output(capsys))["data"]]
    assert run(["jobs", "--state", "succeeded"]) == 0
    assert job in output(capsys)
    assert run(["download", job, "--out", str(tmp_path), "--only", "model.onnx"]) == 0
    assert output(capsys) == str(tmp_path / "model.onnx")


def test_a_command_that_fails_says_the_services_own_code(capsys: pytest.CaptureFixture[str]):
    assert run(["watch", "job_00000000000000000000000000", "--json"]) == 2
    problem = json.loads(output(capsys))
    assert problem["code"] == "not_found"
    assert problem["request_id"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of LeNet-300-100 with 5 classes on samples of 12 numbers, in fp16."""
    random = np.random.default_rng(0)
    sizes = {"fc1": (300, 12), "fc2": (100, 300), "fc3": (5, 100)}
    tensors = {f"{name}.weight": random.normal(size=size).astype(np.float16) for name, size in sizes.items()}
    tensors |= {f"{name}.bias": random.normal(size=size[0]).astype(np.float16) for name, size in sizes.items()}
    path = tmp_path_factory.mktemp("weights") / "lenet.safetensors"
    save_file(tensors, path)
    return path


def test_a_checkpoint_and_the_name_of_its_network_are_a_model(client: Client, weights: Path, tmp_path: Path):
    model = client.models.upload(weights, architecture="lenet_300_100")
    assert (model.state, model.format) == ("ready", "safetensors")
    assert [file.path for file in model.files] == ["lenet.safetensors", "architecture.json"]
    assert model.inspection is not None
    assert [layer.name for layer in model.inspection.layers] == ["fc1", "fc2", "fc3"]
    assert "lenet_300_100 (5 classes, samples 12)" in model.inspection.notes[0]
    job = client.jobs.create(model, [{"technique": "prune.magnitude"}]).wait(timeout=180)
    job.artifacts.download(tmp_path, names=["model.onnx"])
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert np.asarray(session.run(None, {"input": np.ones((2, 12), np.float32)})[0]).shape == (2, 5)


def test_a_checkpoint_of_another_network_is_rejected_with_the_right_name(client: Client, weights: Path):
    with pytest.raises(CheckpointMismatch) as caught:
        client.models.upload(weights, architecture="lenet_5")
    assert "The tensors are those of lenet_300_100" in caught.value.hint
    with pytest.raises(ArchitectureInvalid, match="nothing says which network"):
        client.models.upload(weights)
    with pytest.raises(RequestInvalid, match="/name"):
        client.models.upload(weights, architecture="lenet_6")  # told here, before anything is sent


def test_the_command_line_uploads_a_checkpoint(weights: Path, capsys: pytest.CaptureFixture[str]):
    command = ["upload", str(weights), "--architecture", "lenet_300_100", "--input-shape", "1,3,4", "--json"]
    assert run(command) == 0
    model = json.loads(capsys.readouterr().out)
    assert model["inspection"]["inputs"][0]["shape"] == ["batch", 1, 3, 4]

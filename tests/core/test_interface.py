"""Samples stand first everywhere but in the file, wherever the file has them."""

import json

import numpy as np
import pytest
from onnx import ModelProto, helper

from core.interface import interface_of
from core.measure.runner import Runner, open_session
from core.network import Network
from core.network.axes import NEW
from modelpress.inspection import Inspection
from tests.core.job_folders import images, job_folder, run_here
from tests.core.network.models import model_of, random
from tests.core.network.test_ladder import constant, node


def recurrent(batch: int | str = "batch", steps: int | str = "time") -> ModelProto:
    """Rows of an image as a sequence, time first, with a state of (1, batch, 4); logits (batch, 3)."""
    nodes = [helper.make_node("GRU", ["x", "gru.w", "gru.r", "gru.b", "", "h"], ["", "last"], hidden_size=4)]
    nodes += [node("Squeeze", "last first", "s"), node("Gemm", "s fc.weight", "logits", transB=1)]
    constants = {"gru.w": random(1, 12, 8), "gru.r": random(1, 12, 4), "gru.b": random(1, 24)}
    constants |= {"first": constant(0), "fc.weight": random(3, 4)}
    return model_of(nodes, {"x": [steps, batch, 8], "h": [1, batch, 4]}, ("logits",), constants)


def camera() -> ModelProto:
    """One image without an axis for samples; logits (3,)."""
    nodes = [
        node("Flatten", "x", "f", axis=0),
        node("MatMul", "f fc1", "a"),
        node("Relu", "a", "b"),
        node("MatMul", "b fc2", "c"),
        node("Reshape", "c flat", "logits"),
    ]
    constants = {"fc1": random(64, 6), "fc2": random(6, 3), "flat": constant(3)}
    return model_of(nodes, {"x": [8, 8]}, ("logits",), constants)


def steered() -> ModelProto:
    """A scalar and a table that serve all samples."""
    nodes = [node("Mul", "x gain", "a"), node("MatMul", "a table", "b"), node("MatMul", "b fc", "logits")]
    shapes = {"x": ["n", 64], "gain": [], "table": [64, 6]}
    return model_of(nodes, shapes, ("logits",), {"fc": random(6, 3)})


def data(name: str, count: int = 60) -> dict[str, np.ndarray]:
    """Samples first."""
    x = images(count)[0]
    if name == "recurrent":
        return {"x": x[:, 0], "h": random(count, 1, 4)}
    if name == "camera":
        return {"x": x[:, 0]}
    shared = {"gain": np.full(count, 2.0, np.float32), "table": np.repeat(random(1, 64, 6), count, axis=0)}
    return {"x": x.reshape(count, 64), **shared}


MODELS = {"recurrent": recurrent, "camera": camera, "steered": steered}
AXES = {"recurrent": (1, 1), "camera": (NEW,), "steered": (0, None, None)}


@pytest.mark.parametrize("name", MODELS)
def test_where_the_samples_are_is_found(name: str):
    assert Network.from_proto(MODELS[name]()).sample_axes() == AXES[name]


@pytest.mark.parametrize("proto", [recurrent(1, 8), recurrent("k", 8)], ids=["one at a time", "no telling name"])
def test_where_the_samples_are_is_proved_where_names_do_not_tell(proto: ModelProto):
    assert Network.from_proto(proto).sample_axes() == (1, 1)


@pytest.mark.parametrize("name", MODELS)
def test_a_runner_takes_and_gives_samples_first(name: str):
    proto, rows = MODELS[name](), data(name, 5)
    runner = Runner(open_session(proto.SerializeToString()), interface_of(proto, AXES[name]))
    together = runner.run(rows)["logits"]
    alone = [runner.run({key: value[k : k + 1] for key, value in rows.items()})["logits"] for k in range(5)]
    assert together.shape == (5, 3)
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-6)
    assert np.ptp(together, axis=0).max() > 0.1


def test_samples_that_differ_in_what_is_shared_run_one_by_one():
    proto, rows = steered(), data("steered", 4)
    rows["gain"] = np.arange(4, dtype=np.float32)
    runner = Runner(open_session(proto.SerializeToString()), interface_of(proto, AXES["steered"]))
    expected = rows["gain"][:, None] * runner.run(data("steered", 4))["logits"] / 2
    np.testing.assert_allclose(runner.run(rows)["logits"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_pressed_and_keeps_its_interface(name: str, tmp_path):
    recipe = [
        {"technique": "prune.magnitude", "sparsity": 0.3},
        {"technique": "recover", "epochs": 1, "statistics": False},
    ]
    folder = job_folder(tmp_path / "job", recipe, model=MODELS[name]())
    np.savez(folder / "inputs" / "train.npz", **data(name), y=images()[1])
    result = run_here(folder)
    assert result.best == "1-recover", json.dumps(result.warnings)


def test_inspecting_counts_one_sample(tmp_path):
    folder = job_folder(tmp_path / "job", [], kind="inspect", model=recurrent("batch", 5))
    found = Inspection.model_validate(run_here(folder).inspection)
    assert found.counted_on == {"x": [5, 1, 8], "h": [1, 1, 4]}
    assert found.macs == 5 * 12 * (8 + 4) + 12

"""Weights beyond the 2 GiB that a protobuf can hold, in one tensor and in several: in, changed, and out again."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from core.network.network import Network
from tests.core.network.models import model_of, random, run_onnx

WIDTH = 512
LIMIT = 2**31

pytestmark = pytest.mark.slow


def write_tall(folder: Path, rows: list[int]) -> Path:
    """A chain of tall matrices in files of their own; of each product the first columns go on."""
    nodes, weights, value = [], [], "x"
    for number, count in enumerate(rows):
        with (folder / f"w{number}.bin").open("wb") as file:
            for start in range(0, WIDTH, 64):
                block = random(64, count, seed=start) * np.float32(0.05)
                file.write(block.tobytes())
        weight = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[WIDTH, count])
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=f"w{number}.bin")
        weights.append(weight)
        nodes.append(helper.make_node("MatMul", [value, weight.name], [f"wide{number}"]))
        nodes.append(helper.make_node("Slice", [f"wide{number}", "first", "last", "axis"], [f"h{number}"]))
        value = f"h{number}"
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    constants = {"first": np.array([0]), "last": np.array([WIDTH]), "axis": np.array([1])}
    model = model_of(nodes, {"x": ["n", WIDTH]}, constants=constants)
    model.graph.initializer.extend(weights)
    onnx.save(model, str(folder / "model.onnx"))
    return folder / "model.onnx"


@pytest.mark.parametrize("rows", [[560_000, 560_000], [1_100_000]], ids=["several", "one"])
def test_more_than_a_protobuf_holds_comes_in_and_out(rows: list[int], tmp_path: Path):
    path, inputs = write_tall(tmp_path, rows), {"x": random(2, WIDTH, seed=1)}
    assert sum(file.stat().st_size for file in tmp_path.glob("*.bin")) > LIMIT
    (expected,) = run_onnx(path, inputs)
    assert np.abs(run_onnx(path, {"x": random(2, WIDTH, seed=2)})[0] - expected).max() > 1e-3
    network = Network.from_onnx(path)
    network.to_onnx(tmp_path / "same.onnx")
    assert np.array_equal(run_onnx(tmp_path / "same.onnx", inputs)[0], expected)
    with torch.no_grad():
        network.layers()[0].weight.mul_(2)
    network.to_onnx(tmp_path / "changed.onnx")
    assert np.array_equal(run_onnx(tmp_path / "changed.onnx", inputs)[0], 2 * expected)

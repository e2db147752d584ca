"""MatMulNBits: the weights that packed integers stand for are a layer's."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper

from core.network import Network
from core.network.opaque import OpaqueNode
from core.network.ops.few_bits import unpacked
from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random, run_onnx

OUT, BLOCK = 6, 16


def made(width: int, bits: int, zeros: str = "", bias: bool = False, **attributes: Any) -> ModelProto:
    rng = np.random.default_rng(width + bits)
    blocks = -(-width // BLOCK)
    constants: dict[str, np.ndarray] = {
        "w": rng.integers(0, 256, (OUT, blocks, BLOCK * bits // 8), np.uint8),
        "s": rng.uniform(0.05, 0.2, OUT * blocks).astype(np.float32),
    }
    if zeros == "packed":
        constants["z"] = rng.integers(0, 256, OUT * -(-blocks * bits // 8), np.uint8)
    elif zeros:
        constants["z"] = rng.uniform(0, 2**bits, OUT * blocks).astype(np.float32)
    if bias:
        constants["b"] = random(OUT)
    names = ["x", "w", "s", "z" if zeros else "", *(["", "b"] if bias else [])]
    while not names[-1]:
        names.pop()
    shape = {"K": width, "N": OUT, "bits": bits, "block_size": BLOCK}
    node = helper.make_node("MatMulNBits", names, ["y"], name="fc", domain="com.microsoft", **shape, **attributes)
    model = model_of([node], {"x": [2, 3, width]}, constants=constants)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3, OUT]))
    return model


@pytest.mark.parametrize("width", [16, 48, 40])
@pytest.mark.parametrize(
    ("bits", "zeros", "bias"), [(4, "", False), (4, "packed", True), (4, "floats", False), (8, "", True)]
)
def test_the_product_is_onnxruntimes(width: int, bits: int, zeros: str, bias: bool):
    network = assert_agrees(made(width, bits, zeros, bias), {"x": random(2, 3, width)})
    (layer,) = network.layers()
    assert (layer.name, layer.kind, tuple(layer.weight.shape)) == ("fc", "MatMul", (OUT, width))


def test_integers_are_read_by_hand():
    """0x38 holds 8, then 3; 0xf1 holds 1, then 15; the zero point is 8, or 1 and 2 in 0x21."""
    packed, scales = torch.tensor([[[0x38], [0xF1]]], dtype=torch.uint8), torch.tensor([0.5, 2.0])
    assert unpacked(packed, scales, None, 4, 4, 2).tolist() == [[0.0, -2.5, -14.0, 14.0]]
    zeros = torch.tensor([0x21], dtype=torch.uint8)
    assert unpacked(packed, scales, zeros, 3, 4, 2).tolist() == [[3.5, 1.0, -2.0]]
    assert unpacked(packed, scales, torch.tensor([3.0, 0.5]), 4, 4, 2).tolist() == [[2.5, 0.0, 1.0, 29.0]]


def test_a_changed_layer_is_written_with_plain_numbers_and_nothing_packed():
    model = made(48, 4, "packed", True)
    network = Network.from_proto(model)
    x = random(2, 3, 48)
    with torch.no_grad():
        network.layer("fc").weight.mul_(2)
        network.layer("fc").module.bias.mul_(2)
    written = network.to_proto()
    assert sorted(node.op_type for node in written.graph.node) == ["Add", "MatMul"]
    assert len(written.graph.initializer) == 2
    np.testing.assert_allclose(run_onnx(written, {"x": x})[0], 2 * run_onnx(model, {"x": x})[0], rtol=1e-4, atol=1e-4)


def test_what_rounds_its_input_stays_onnxruntimes():
    network = Network.from_proto(made(48, 4, accuracy_level=4))
    assert any(isinstance(part, OpaqueNode) for part in network.graph.modules())
    assert "rounds what it multiplies to eight bits" in network.notes[0]

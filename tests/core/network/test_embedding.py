"""Embeddings, tied heads and other products with constants: trained, written, saved, and equal to onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper
from torch import nn

from core.formulas import AffineInt8, Codebook, Formula, Masked
from core.network import Network
from core.network.channels import analyse
from tests.core.network.agreement import assert_agrees, assert_all_close, in_torch, native
from tests.core.network.invariants import Subject, check_removal
from tests.core.network.models import model_of, random, run_onnx

ROWS, WIDTH = 30, 12
IDS = {"ids": np.array([[3, 0, ROWS - 1], [7, 7, 2]])}


def table_model(head: str = "", dtype: type = np.float32) -> ModelProto:
    """A table that is looked up; with a head of the same table: by Transpose and MatMul, or by Gemm."""
    table = random(ROWS, WIDTH).astype(dtype)
    rows = helper.make_node("Gather", ["embed.weight", "ids"], ["rows"], name="lookup")
    nodes = {
        "": [helper.make_node("Identity", ["rows"], ["y"])],
        "MatMul": [
            helper.make_node("Transpose", ["embed.weight"], ["turned"]),
            helper.make_node("Tanh", ["rows"], ["bent"]),
            helper.make_node("MatMul", ["bent", "turned"], ["y"], name="head"),
        ],
        "Gemm": [
            helper.make_node("Reshape", ["rows", "shape"], ["flat"]),
            helper.make_node("Tanh", ["flat"], ["bent"]),
            helper.make_node("Gemm", ["bent", "embed.weight"], ["y"], name="head", transB=1),
        ],
    }
    constants = {"embed.weight": table, **({"shape": np.array([-1, WIDTH])} if head == "Gemm" else {})}
    types: dict[str, int] = {"ids": TensorProto.INT64, "y": helper.np_dtype_to_tensor_dtype(np.dtype(dtype))}
    return model_of([rows, *nodes[head]], {"ids": [2, "n"]}, constants=constants, types=types)


def stored(model: ModelProto) -> list[list[int]]:
    """Shapes of the float tensors in a file."""
    return [list(tensor.dims) for tensor in model.graph.initializer if tensor.data_type != TensorProto.INT64]


def step(network: Network, inputs: dict[str, np.ndarray]) -> None:
    """One step of training on the squared outputs."""
    optimizer = torch.optim.SGD(network.graph.parameters(), 0.01)
    outputs = network({name: torch.from_numpy(value) for name, value in inputs.items()}).values()
    sum(output.square().mean() for output in outputs).backward()  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 3), min_size=0, max_size=3),
    kind=st.sampled_from([np.int32, np.int64]),
    seed=st.integers(0, 99),
)
def test_rows_at_positions_of_any_sign_and_shape(shape: list[int], kind: Any, seed: int):
    ids = np.random.default_rng(seed).integers(-ROWS, ROWS, shape).astype(kind)
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    types: dict[str, int] = {"ids": helper.np_dtype_to_tensor_dtype(ids.dtype)}
    model = model_of([node], {"ids": shape}, constants={"table": random(ROWS, WIDTH)}, types=types)
    network = assert_agrees(model, {"ids": ids})
    (layer,) = network.layers()
    assert (layer.kind, layer.in_channels, layer.out_channels) == ("Gather", ROWS, WIDTH)


def test_gradient_is_that_of_torch():
    network = native(table_model())
    reference = nn.Embedding(ROWS, WIDTH)
    reference.load_state_dict({"weight": network.layer("embed").weight.detach()})
    negative = torch.from_numpy(IDS["ids"]) - ROWS
    network({"ids": negative})["y"].square().sum().backward()
    reference(torch.from_numpy(IDS["ids"])).square().sum().backward()
    assert torch.equal(network.layer("embed").weight.grad, reference.weight.grad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("head", ["MatMul", "Gemm"])
def test_a_tied_head_is_trained_and_written_with_its_table(head: str, tmp_path: Path):
    network = native(table_model(head))
    first, second = network.layers()
    assert first.weight is second.weight
    before = first.weight.detach().clone()
    step(network, IDS)
    assert not torch.equal(first.weight, before)
    written = network.to_proto()
    onnx.checker.check_model(written)
    assert stored(written) == [[ROWS, WIDTH]]
    expected = in_torch(network, IDS)
    assert_all_close(run_onnx(written, IDS), expected)
    network.save(tmp_path)
    again = Network.load(tmp_path)
    one, other = again.layers()
    assert one.weight is other.weight
    assert [layer.name for layer in again.layers()] == [layer.name for layer in network.layers()]
    assert_all_close(in_torch(again, IDS), expected, 0)


@pytest.mark.parametrize("formula", [Codebook(4), Masked(torch.rand(ROWS, WIDTH) > 0.5), AffineInt8(axis=0)])
def test_a_tied_head_shares_the_formula_of_its_table(formula: Formula):
    network = native(table_model("MatMul"))
    network.layers()[0].reparametrise(formula)
    assert [layer.formula for layer in network.layers()] == [formula, formula]
    written = network.to_proto()
    assert sum(node.op_type == "Gather" and "ids" in node.input for node in written.graph.node) == 1
    assert_all_close(run_onnx(written, IDS), in_torch(network, IDS))


def test_tables_of_sixteen_bits_stay_so():
    network = native(table_model("MatMul", np.float16))
    with torch.no_grad():
        network.layers()[0].weight.mul_(1.5)
    written = network.to_proto()
    assert [tensor.data_type for tensor in written.graph.initializer] == [TensorProto.FLOAT16]
    assert_all_close(run_onnx(written, IDS), in_torch(network, IDS), 4e-3)


def quantized_table() -> ModelProto:
    """Eight-bit rows that are unfolded before they are looked up."""
    nodes = [
        helper.make_node("DequantizeLinear", ["integers", "scale", "zero"], ["table"]),
        helper.make_node("Gather", ["table", "ids"], ["y"], name="lookup"),
    ]
    integers = np.random.default_rng(0).integers(-127, 128, (ROWS, WIDTH)).astype(np.int8)
    constants = {"integers": integers, "scale": np.float32(0.1), "zero": np.int8(0)}
    return model_of(nodes, {"ids": [2, 3]}, constants=constants, types={"ids": TensorProto.INT64})


def test_a_quantised_table_is_looked_up_and_can_be_changed():
    network = assert_agrees(quantized_table(), IDS)
    with torch.no_grad():
        network.layer("lookup").weight.mul_(2)
    assert_all_close(run_onnx(network.to_proto(), IDS), in_torch(network, IDS))


def test_constant_positions_stay_constant():
    node = [
        helper.make_node("Gather", ["table", "places"], ["rows"]),
        helper.make_node("Add", ["x", "rows"], ["y"]),
    ]
    constants = {"table": random(ROWS, WIDTH), "places": np.arange(4)}
    network = assert_agrees(model_of(node, {"x": [2, 4, WIDTH]}, constants=constants), {"x": random(2, 4, WIDTH)})
    assert not network.layers()


def product(op: str, left: Any, right: Any, shape: list[int], **attributes: Any) -> tuple[ModelProto, dict[str, Any]]:
    """A product of `x` and a constant, whichever side that is on."""
    weight = {"w": right if left is None else left}
    node = helper.make_node(op, ["x" if left is None else "w", "x" if right is None else "w"], ["y"], **attributes)
    return model_of([node], {"x": shape}, constants=weight), {"x": random(*shape, seed=3)}


@pytest.mark.parametrize(
    "case",
    [
        product("MatMul", random(4, 5), None, [5, 3]),
        product("MatMul", random(2, 4, 5), None, [2, 5, 3]),
        product("MatMul", None, random(2, 5, 4), [2, 3, 5]),
        product("MatMul", None, random(5), [3, 5]),
        product("Gemm", random(5, 4), None, [5, 3], transA=1, alpha=0.5),
        product("Gemm", random(4, 5), None, [3, 5], transB=1),
    ],
)
def test_constant_operands_are_trained(case: tuple[ModelProto, dict[str, np.ndarray]], tmp_path: Path):
    model, inputs = case
    network = assert_agrees(model, inputs)
    (parameter,) = network.graph.parameters()
    before = parameter.detach().clone()
    step(network, inputs)
    assert not torch.equal(parameter, before)
    expected = in_torch(network, inputs)
    assert_all_close(run_onnx(network.to_proto(), inputs), expected)
    network.save(tmp_path)
    assert_all_close(in_torch(Network.load(tmp_path), inputs), expected, 0)


def test_frequencies_of_an_outer_product_are_not_trained():
    model, inputs = product("MatMul", random(1, 6, 1), None, [2, 1, 3])
    assert not list(assert_agrees(model, inputs).graph.parameters())


def test_two_products_of_one_matrix_stay_tied():
    nodes = [
        helper.make_node("MatMul", ["w", "x"], ["h"]),
        helper.make_node("MatMul", ["w", "h"], ["y"]),
    ]
    inputs = {"x": random(5, 3, seed=3)}
    network = assert_agrees(model_of(nodes, {"x": [5, 3]}, constants={"w": random(5, 5)}), inputs)
    assert len(list(network.graph.parameters())) == 1
    step(network, inputs)
    written = network.to_proto()
    assert stored(written) == [[5, 5]]
    assert_all_close(run_onnx(written, inputs), in_torch(network, inputs))


def test_a_copy_has_tensors_of_its_own_and_can_take_the_place():
    network = native(table_model("MatMul"))
    twin = network.copy()
    with torch.no_grad():
        twin.layers()[0].weight.mul_(2)
    assert not np.allclose(in_torch(twin, IDS)[0], in_torch(network, IDS)[0])
    network.become(twin)
    assert_all_close(in_torch(network, IDS), in_torch(twin, IDS), 0)


def test_a_matrix_from_the_left_is_a_layer_whose_rows_can_go():
    """As Mamba multiplies by its steps' projection."""
    nodes = [
        helper.make_node("MatMul", ["rows.weight", "x"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["last.weight", "r"], ["y"]),
    ]
    constants = {"rows.weight": random(6, 4), "last.weight": random(3, 6, seed=1)}
    model = model_of(nodes, {"x": ["n", 4, 5]}, constants=constants)
    network = Network.from_proto(model)
    assert [(layer.name, layer.out_channels) for layer in network.layers()] == [("rows", 6), ("last", 3)]
    assert len(analyse(network).prunable()) == 6
    for seed in range(3):
        check_removal(Subject(model, {"x": random(2, 4, 5)}), seed)

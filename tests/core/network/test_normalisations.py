"""Normalisations against onnxruntime: as layers, with computed scales, and in onnxruntime's fused forms."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper
from torch import nn

from core.network import Network
from tests.core.network.agreement import assert_agrees, assert_all_close, in_torch, native
from tests.core.network.models import model_of, random, run_onnx

KINDS = {"LayerNormalization": 17, "RMSNormalization": 23, "SimplifiedLayerNormalization": 17}
OLD = {"LayerNormalization": 14, "SimplifiedLayerNormalization": 12}  # from before the standard had them


def normalisation(
    kind: str, shape: list[int], axis: int, opset: int, constant: bool = True, outputs: tuple[str, ...] = ("y",)
) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Over the axes from `axis` on, with the scale (and bias) constant or given at run time."""
    size = shape[axis:]
    weights = {"s": random(*size, seed=1) + 2}
    if kind == "LayerNormalization":
        weights["b"] = random(*size, seed=2)
    nodes = [helper.make_node(kind, ["x", *weights], list(outputs), axis=axis, epsilon=1e-3)]
    inputs = {"x": random(*shape, seed=3)} if constant else {"x": random(*shape, seed=3), **weights}
    shapes: dict[str, list[int | str]] = {name: list(value.shape) for name, value in inputs.items()}
    return model_of(nodes, shapes, outputs, constants=weights if constant else {}, opset=opset), inputs


@settings(max_examples=20, deadline=None, derandomize=True)
@given(kind=st.sampled_from(sorted(KINDS)), rank=st.integers(1, 4), constant=st.booleans(), data=st.data())
def test_any_axis_constant_or_computed(kind: str, rank: int, constant: bool, data: st.DataObject):
    shape = data.draw(st.lists(st.integers(2, 5), min_size=rank, max_size=rank))
    axis = data.draw(st.integers(-rank, rank - 1))
    model, inputs = normalisation(kind, shape, axis, KINDS[kind], constant)
    network = assert_agrees(model, inputs)
    assert len(network.layers()) == constant


@pytest.mark.parametrize("kind", OLD)
def test_files_from_before_the_standard_had_it(kind: str):
    model, inputs = normalisation(kind, [2, 3, 8], -1, OLD[kind])
    network = native(model)
    assert_all_close(in_torch(network, inputs), run_onnx(model, inputs))
    with torch.no_grad():
        (layer,) = network.layers()
        layer.weight.mul_(2)
    written = network.to_proto()
    assert written.graph.node[0].op_type == kind
    assert_all_close(run_onnx(written, inputs), in_torch(network, inputs))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("InstanceNormalization", (2, 3, 1, 1)),
        ("InstanceNormalization", (1, 3, 1)),
        ("InstanceNormalization", (0, 3, 4, 4)),
        ("GroupNormalization", (1, 3, 1, 1)),
    ],
)
def test_a_single_place_and_no_samples_are_normalised(kind: str, shape: tuple[int, ...]):
    attributes: dict[str, Any] = {"num_groups": 3} if kind == "GroupNormalization" else {}
    node = helper.make_node(kind, ["x", "s", "b"], ["y"], epsilon=0.1, **attributes)
    model = model_of([node], {"x": shape}, constants={"s": random(3), "b": random(3, seed=1)}, opset=18)
    assert_agrees(model, {"x": random(*shape, seed=2)})


def test_statistics_are_outputs():
    model, inputs = normalisation("LayerNormalization", [2, 3, 8], 1, 17, outputs=("y", "mean", "deviation"))
    assert_agrees(model, inputs)


def test_a_scale_that_broadcasts():
    node = helper.make_node("LayerNormalization", ["x", "s"], ["y"], axis=1)
    model = model_of([node], {"x": [2, 3, 8]}, constants={"s": random(3, 1)})
    network = assert_agrees(model, {"x": random(2, 3, 8)})
    assert [name for name, _ in network.graph.named_parameters()] == ["s"]


def skip_model(op: str, bias: bool) -> ModelProto:
    """Normalises x + a skip connection (+ a bias), gives out the sum too."""
    constants: dict[str, Any] = {"gamma": random(8, seed=1) + 2}
    inputs = ["x", "skip", "gamma"]
    if op == "SkipLayerNormalization":
        constants["beta"] = random(8, seed=2)
        inputs.append("beta")
    if bias:
        constants["bias"] = random(8, seed=3)
        inputs.append("bias")
    nodes = [
        helper.make_node("Tanh", ["x"], ["skip"]),
        helper.make_node(op, inputs, ["y", "", "", "sum"], domain="com.microsoft", name="norm", epsilon=1e-3),
    ]
    model = model_of(nodes, {"x": ["n", 3, 8]}, ("y", "sum"), constants, opset=14)
    for output in model.graph.output:
        output.type.CopyFrom(model.graph.input[0].type)
    return model


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_onnxruntimes_fused_form(op: str, bias: bool):
    model, inputs = skip_model(op, bias), {"x": random(2, 3, 8)}
    network = assert_agrees(model, inputs)
    assert [layer.name for layer in network.layers()] == ["norm"]


@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_the_fused_form_keeps_its_form_with_other_weights(op: str):
    network, inputs = Network.from_proto(skip_model(op, bias=True)), {"x": random(2, 3, 8)}
    before = in_torch(network, inputs)
    with torch.no_grad():
        for parameter in network.graph.parameters():
            parameter.mul_(2)
    written = network.to_proto()
    assert [node.op_type for node in written.graph.node] == ["Tanh", op]
    after = in_torch(network, inputs)
    assert np.abs(after[0] - before[0]).max() > 0.1
    assert_all_close(run_onnx(written, inputs), after)
    assert [layer.name for layer in Network.from_proto(written).layers()] == ["norm"]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(groups=st.integers(1, 3), width=st.integers(1, 3), places=st.integers(0, 2), constant=st.booleans())
def test_groups(groups: int, width: int, places: int, constant: bool):
    shape = [2, groups * width, *[3] * places]
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=groups, epsilon=1e-3)
    weights = {"s": random(shape[1], seed=1), "b": random(shape[1], seed=2)}
    inputs = {"x": random(*shape), **({} if constant else weights)}
    shapes: dict[str, list[int | str]] = {name: list(value.shape) for name, value in inputs.items()}
    model = model_of([node], shapes, constants=weights if constant else {}, opset=21, ir_version=10)
    network = assert_agrees(model, inputs, 1e-4)  # a group of few elements amplifies rounding
    assert isinstance(network.layers()[0].module, nn.GroupNorm) if constant else not network.layers()


def test_groups_before_opset_21_have_a_scale_each():
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2)
    constants = {"s": random(2, seed=1), "b": random(2, seed=2)}
    model = model_of([node], {"x": ["n", 6, 3, 3]}, constants=constants, opset=19)
    assert_agrees(model, {"x": random(2, 6, 3, 3)})


@pytest.mark.parametrize("axes", [[0, 2, 3], [1], [-1, 1]])
def test_mean_and_variance(axes: list[int]):
    node = helper.make_node("MeanVarianceNormalization", ["x"], ["y"], axes=axes)
    assert_agrees(model_of([node], {"x": [2, 3, 4, 5]}), {"x": random(2, 3, 4, 5)})


def test_groups_of_one_number():
    """Less its mean it is 0: the bias is left."""
    vectors = {"s": random(3, seed=1), "b": random(3, seed=2)}
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=3)
    model = model_of([node], {"x": ["n", 3, 1]}, constants=vectors, opset=21, ir_version=10)
    inputs = {"x": random(2, 3, 1)}
    assert_all_close(in_torch(native(model), inputs), [np.broadcast_to(vectors["b"][:, None], (2, 3, 1))])
    assert_all_close(run_onnx(model, inputs), [np.broadcast_to(vectors["b"][:, None], (2, 3, 1))])


def test_batch_statistics_of_a_vector_are_onnxruntimes():
    vectors = {name: random(1, seed=k) + 2 for k, name in enumerate("sbmv")}
    node = helper.make_node("BatchNormalization", ["x", *vectors], ["y"])
    model = model_of([node], {"x": [4]}, constants=vectors)
    inputs = {"x": random(4)}
    assert_all_close(in_torch(Network.from_proto(model), inputs), run_onnx(model, inputs))

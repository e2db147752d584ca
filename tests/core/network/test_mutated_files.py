"""A valid file with fields dropped, doubled, renamed or set to other numbers: told, or computed as onnxruntime does."""

from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from core.measure.runner import RUNTIME_ERRORS
from core.network import Network
from modelpress.problem import ProblemError
from tests.core.network.models import model_of, random, run_onnx

NUMBERS = [-(2**31), -2, -1, 0, 1, 2, 3, 7, 2**31 - 1]


def valid() -> ModelProto:
    nodes = [
        helper.make_node(
            "Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1], strides=[1, 1], name="conv"
        ),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "variance"], ["b"], epsilon=1e-3),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Concat", ["c", "x"], ["d"], axis=1),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["e", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], transB=1, alpha=0.5, name="fc"),
    ]
    constants = {
        "conv.weight": random(4, 3, 3, 3),
        "conv.bias": random(4),
        **{name: abs(random(4, seed=k)) + 0.5 for k, name in enumerate(("scale", "shift", "mean", "variance"))},
        "shape": np.array([1, -1]),
        "fc.weight": random(5, 28),
        "fc.bias": random(5),
    }
    return model_of(nodes, {"x": [1, 3, 4, 4]}, constants=constants)


def mutate(message: Any, draw: st.DrawFn) -> None:
    """Change something at a place somewhere inside."""
    fields = [
        (field, value) for field, value in message.ListFields() if field.name != "raw_data" or draw(st.booleans())
    ]
    if not fields:
        return
    field, value = draw(st.sampled_from(fields))
    if hasattr(value, "extend"):
        index = draw(st.integers(0, len(value) - 1))
        if field.message_type is not None and draw(st.integers(0, 3)):
            mutate(value[index], draw)
        else:
            _mutate_list(value, index, draw)
    elif field.message_type is not None:
        mutate(value, draw)
    elif field.enum_type is not None:
        setattr(message, field.name, draw(st.sampled_from([one.number for one in field.enum_type.values])))
    elif draw(st.integers(0, 3)):
        setattr(message, field.name, _other(value, draw))
    else:
        message.ClearField(field.name)


def _mutate_list(values: Any, index: int, draw: st.DrawFn) -> None:
    kept = list(values)
    how = draw(st.sampled_from(["drop", "double", "swap", "other"]))
    if how == "drop":
        del kept[index]
    elif how == "double":
        kept.append(kept[index])
    elif how == "swap":
        kept[index], kept[0] = kept[0], kept[index]
    elif not hasattr(kept[index], "CopyFrom"):
        kept[index] = _other(kept[index], draw)
    copies = [type(one).FromString(one.SerializeToString()) if hasattr(one, "CopyFrom") else one for one in kept]
    del values[:]
    values.extend(copies)


def _other(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, str):
        return draw(st.sampled_from(["x", "y", "a", "conv.weight", "fc.bias", "Relu", "Add", "Gemm", "", "ghost"]))
    if isinstance(value, bytes):
        return value[: draw(st.integers(0, len(value)))]
    if isinstance(value, float):
        return draw(st.sampled_from([0.0, -1.0, 1e30, float("nan"), float("inf")]))
    return draw(st.sampled_from(NUMBERS)) if abs(value) < 2**31 else 0


@st.composite
def mutated(draw: st.DrawFn) -> ModelProto:
    model = valid()
    for _ in range(draw(st.integers(1, 2))):
        mutate(model, draw)
    return model


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutated())
def test_a_mutated_file_is_told_or_computed_alike(model: ModelProto):
    try:
        network = Network.from_proto(ModelProto.FromString(model.SerializeToString()))
    except ProblemError:
        return
    x = random(1, 3, 4, 4)
    try:
        expected = run_onnx(model, dict.fromkeys(network.input_names, x))
    except (*RUNTIME_ERRORS, ValueError):
        return
    with torch.no_grad():
        found = network.graph(*[torch.from_numpy(x) for _ in network.input_names])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4)
    assert network.to_proto() is network.source

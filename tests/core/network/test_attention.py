"""Attention of the standard and of onnxruntime's own operators, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from core.network import Network
from tests.core.network.agreement import assert_agrees, assert_all_close, in_torch, native, written_anew
from tests.core.network.models import model_of, random, run_onnx

BATCH, WIDTH = 2, 4
INT32, INT64 = TensorProto.INT32, TensorProto.INT64


def attention_model(
    op: str,
    inputs: dict[str, np.ndarray],
    outputs: tuple[str, ...] = ("y",),
    order: tuple[str, ...] | None = None,
    constants: dict[str, Any] | None = None,
    **attributes: Any,
) -> ModelProto:
    """One node; `order` names its inputs where some are left out or constant."""
    domain = "" if op.startswith("Standard") else "com.microsoft"
    node = helper.make_node(op.removeprefix("Standard"), order or list(inputs), outputs, "attention", domain=domain)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    shapes = {
        name: [f"{name}{axis}" if axis in (0, 1) else size for axis, size in enumerate(x.shape)]
        for name, x in inputs.items()
    }
    types: dict[str, int] = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in inputs.items()}
    model = model_of([node], shapes, outputs, constants, opset=23, ir_version=11, types=types)
    if domain:
        for output in model.graph.output:
            output.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, ["a", "b", "c", "d"]))
            if output.name == "y":
                output.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, ["a", "b", "c"]))
    return model


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
    is_flat=st.booleans(),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3)),
    is_causal=st.sampled_from([0, 1]),
    mask=st.sampled_from(["none", "bool", "float", "heads"]),
    softcap=st.sampled_from([0.0, 2.0]),
    scale=st.sampled_from([None, 0.3]),
)
def test_the_standards(
    heads: tuple[int, int],
    is_flat: bool,
    sizes: tuple[int, int, int],
    is_causal: int,
    mask: str,
    softcap: float,
    scale: float | None,
):
    queries, keys, past = sizes
    if past and is_causal:  # a lone query of several keys sees them all in onnxruntime, which the standard forbids
        keys = queries
    inputs = _heads(heads, queries, keys, is_flat)
    order = ["q", "k", "v", "mask" if mask != "none" else ""]
    if mask != "none":
        shape = (BATCH, heads[0], queries, past + keys) if mask == "heads" else (queries, past + keys)
        drawn = random(*shape, seed=9)
        inputs["mask"] = drawn > -0.5 if mask == "bool" else drawn
    if past:
        inputs |= {
            "pk": random(BATCH, heads[1], past, WIDTH, seed=7),
            "pv": random(BATCH, heads[1], past, WIDTH, seed=8),
        }
        order += ["pk", "pv"]
    attributes: dict[str, Any] = {"q_num_heads": heads[0], "kv_num_heads": heads[1]} if is_flat else {}
    if scale is not None:
        attributes["scale"] = scale
    outputs = ("y", "present_key", "present_value") if past else ("y",)
    model = attention_model(
        "StandardAttention", inputs, outputs, tuple(order), is_causal=is_causal, softcap=softcap, **attributes
    )
    assert_agrees(model, inputs)


def _heads(heads: tuple[int, int], queries: int, keys: int, is_flat: bool) -> dict[str, np.ndarray]:
    q = random(BATCH, heads[0], queries, WIDTH, seed=1)
    k, v = random(BATCH, heads[1], keys, WIDTH, seed=2), random(BATCH, heads[1], keys, WIDTH, seed=3)
    values = {"q": q, "k": k, "v": v}
    if is_flat:
        return {n: x.transpose(0, 2, 1, 3).reshape(BATCH, x.shape[2], -1) for n, x in values.items()}
    return values


def test_a_query_that_may_look_nowhere_gives_zero_and_has_a_gradient():
    inputs = _heads((2, 2), 2, 3, False) | {"mask": np.array([[True, False, True], [False] * 3])}
    network = native(attention_model("StandardAttention", inputs))
    tensors = {name: torch.from_numpy(x).requires_grad_(x.dtype == np.float32) for name, x in inputs.items()}
    y = network(tensors)["y"]
    assert y[:, :, 1].abs().max() == 0
    assert y[:, :, 0].abs().max() > 0
    y.sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for name, x in tensors.items() if name != "mask")


def test_scores_of_a_query_that_may_look_nowhere_have_a_gradient():
    inputs = _heads((2, 2), 2, 3, False) | {"mask": np.array([[True, False, True], [False] * 3])}
    model = attention_model("StandardAttention", inputs, ("y", "", "", "s"), qk_matmul_output_mode=3)
    del model.graph.output[1:3]
    network = native(model)
    q = torch.from_numpy(inputs["q"]).requires_grad_()
    scores = network({name: torch.from_numpy(x) for name, x in inputs.items()} | {"q": q})["s"]
    (gradient,) = torch.autograd.grad(scores.square().sum(), [q])
    assert gradient.isfinite().all()
    assert gradient[:, :, 0].abs().max() > 0


def test_hidden_scores_that_are_given_out_are_onnxruntimes():
    inputs = _heads((2, 2), 2, 3, False) | {"mask": np.array([[True, False, True], [True] * 3])}
    model = attention_model("StandardAttention", inputs, ("y", "", "", "s"), qk_matmul_output_mode=2)
    del model.graph.output[1:3]
    assert_all_close(in_torch(Network.from_proto(model), inputs), run_onnx(model, inputs))


@pytest.mark.parametrize("keys", [2, 3, 5])
def test_the_last_query_looks_at_all_keys_even_in_one_direction(keys: int):
    inputs = _heads((2, 2), 3, keys, True)
    assert_agrees(attention_model("MultiHeadAttention", inputs, num_heads=2, unidirectional=1), inputs)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    bias=st.booleans(),
    padding=st.sampled_from(["none", "keys", "queries", "lengths"]),
    addend=st.booleans(),
    past=st.integers(0, 2),
    unidirectional=st.sampled_from([0, 1]),
    is_split=st.booleans(),
)
def test_multi_head_attention(bias: bool, padding: str, addend: bool, past: int, unidirectional: int, is_split: bool):
    queries, keys, heads = (3, 3, 2) if unidirectional else (3, 4, 2)
    total = past + keys
    inputs = _heads((heads, heads), queries, keys, True)
    names = ["q", "k", "v", "b" if bias else ""]
    if is_split and not past and not bias:
        inputs |= {n: x for n, x in _heads((heads, heads), queries, keys, False).items() if n != "q"}
    optional = {
        "padding": _padding(padding, queries, total),
        "addend": random(BATCH, heads, queries, total, seed=6) if addend else None,
        "pk": random(BATCH, heads, past, WIDTH, seed=7) if past else None,
        "pv": random(BATCH, heads, past, WIDTH, seed=8) if past else None,
    }
    inputs |= {name: x for name, x in optional.items() if x is not None}
    names += [name if x is not None else "" for name, x in optional.items()]
    constants = {"b": random(3 * heads * WIDTH, seed=5)} if bias else {}
    model = attention_model(
        "MultiHeadAttention",
        inputs,
        ("y", "pk2", "pv2") if past else ("y",),
        tuple(names),
        constants,
        num_heads=heads,
        unidirectional=unidirectional,
    )
    if padding == "lengths":  # one for each sample
        for value in model.graph.input:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    assert_agrees(model, inputs)


def _padding(kind: str, queries: int, keys: int) -> np.ndarray | None:
    if kind == "lengths":
        return np.array([keys, keys - 1], np.int32)
    mask = np.ones((BATCH, queries, keys), np.int32)
    mask[0, :, -1] = 0
    return {"none": None, "keys": mask[:, 0], "queries": mask}[kind]


@pytest.mark.parametrize("with_past, sizes", [(False, None), (True, None), (False, [8, 8, 12])])
def test_attention_of_packed_weights(with_past: bool, sizes: list[int] | None):
    out = sum(sizes) if sizes else 24
    inputs = {"x": random(BATCH, 3, 5), "mask": np.array([[1, 1, 0], [1, 1, 1]], np.int32)}
    constants = {"w": random(5, out, seed=1), "b": random(out, seed=2)}
    order = ["x", "w", "b", "mask"]
    if with_past:
        inputs |= {"past": random(2, BATCH, 2, 1, 4, seed=3), "mask": np.array([[1, 1, 1, 0], [1] * 4], np.int32)}
        order.append("past")
    attributes: dict[str, Any] = {"qkv_hidden_sizes": sizes} if sizes else {}
    outputs = ("y", "present") if with_past else ("y",)
    model = attention_model("Attention", inputs, outputs, tuple(order), constants, num_heads=2, **attributes)
    if with_past:
        model.graph.output[1].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, list("abcde")))
    network = assert_agrees(model, inputs)
    (layer,) = network.layers()
    assert (layer.name, layer.kind, tuple(layer.weight.shape)) == ("attention", "MatMul", (out, 5))


def test_packed_weights_that_changed_are_written_as_a_product():
    inputs = {"x": random(BATCH, 3, 5)}
    constants = {"w": random(5, 24, seed=1), "b": random(24, seed=2)}
    model = attention_model("Attention", inputs, ("y",), ("x", "w", "b"), constants, num_heads=2)
    network = Network.from_proto(model)
    before = in_torch(network, inputs)
    with torch.no_grad():
        network.layer("attention").weight.mul_(1.5)
    after = in_torch(network, inputs)
    assert np.abs(after[0] - before[0]).max() > 0.1
    written = network.to_proto()
    assert [node.op_type for node in written.graph.node] == ["MatMul", "Add", "Split", "MultiHeadAttention"]
    assert_all_close(run_onnx(written, inputs), after)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    heads=st.sampled_from([(2, 2), (4, 2)]),
    cached=st.sampled_from([0, 3]),
    do_rotary=st.sampled_from([0, 1]),
    rotary_interleaved=st.sampled_from([0, 1]),
    local_window_size=st.sampled_from([-1, 2]),
    softcap=st.sampled_from([0.0, 3.0]),
    smooth_softmax=st.sampled_from([0, 1]),
    is_packed=st.booleans(),
)
def test_group_query_attention(heads: tuple[int, int], cached: int, do_rotary: int, is_packed: bool, **attributes: Any):
    width, new = 16, 1 if cached else 3
    hidden = (heads[0] + 2 * heads[1]) * width
    packed = random(BATCH, new, hidden, seed=1)
    parts = np.split(packed, [heads[0] * width, (heads[0] + heads[1]) * width], axis=-1)
    inputs = {"q": packed} if is_packed else dict(zip("qkv", parts, strict=True))
    inputs |= {f"p{n}": random(BATCH, heads[1], cached, width, seed=4) for n in "kv"}
    inputs["last"] = np.array([cached + new - 1, max(cached + new - 2, 0) if cached else new - 1], np.int32)
    constants = {"total": np.array(cached + new, np.int32)}
    names = ["q", "" if is_packed else "k", "" if is_packed else "v", "pk", "pv", "last", "total"]
    if do_rotary:
        angles = np.outer(np.arange(8), 0.3 ** np.arange(width // 2)).astype(np.float32)
        constants |= {"cos": np.cos(angles), "sin": np.sin(angles)}
        names += ["cos", "sin"]
    model = attention_model(
        "GroupQueryAttention",
        inputs,
        ("y", "pk2", "pv2"),
        tuple(names),
        constants,
        num_heads=heads[0],
        kv_num_heads=heads[1],
        do_rotary=do_rotary,
        **attributes,
    )
    network = native(model)
    expected = run_onnx(model, inputs)
    for found in (in_torch(network, inputs), run_onnx(written_anew(network), inputs)):
        assert_all_close(found[:1], expected[:1], 1e-4)
        for sample, last in enumerate(inputs["last"]):  # the cache behind it is not said
            for ours, theirs in zip(found[1:], expected[1:], strict=True):
                assert_all_close([ours[sample, :, : last + 1]], [theirs[sample, :, : last + 1]])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    is_flat=st.booleans(),
    part=st.sampled_from([0, 4]),
    interleaved=st.sampled_from([0, 1]),
    positions=st.booleans(),
    op=st.sampled_from(["StandardRotaryEmbedding", "RotaryEmbedding"]),
)
def test_rotary_embedding(is_flat: bool, part: int, interleaved: int, positions: bool, op: str):
    heads, length, width = 2, 3, 8
    pairs = (part or width) // 2
    x = random(BATCH, length, heads * width) if is_flat else random(BATCH, heads, length, width)
    inputs = {"x": x}
    caches = {"cos": random(10, pairs, seed=1), "sin": random(10, pairs, seed=2)}
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": part} | (
        {"num_heads": heads} if is_flat or part else {}
    )
    if op == "StandardRotaryEmbedding":
        order = ["x", "cos", "sin", *(["positions"] if positions else [])]
        if not positions:
            caches = {name: np.stack([value[:length], value[1 : length + 1]]) for name, value in caches.items()}
    else:
        order = ["x", "positions", "cos", "sin"]
    if "positions" in order:
        inputs["positions"] = np.array([[4, 1, 7], [0, 3, 2]]) if positions else np.array([5])
    model = attention_model(op, inputs, ("y",), tuple(order), caches, **attributes)
    if not is_flat:
        model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, list("abcd")))
    assert_agrees(model, inputs)

"""Multiply-accumulates, worked out by hand and against torch's own counter."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference
from torch.utils.flop_counter import FlopCounterMode

from core.measure.costs import Costs
from core.network import Network
from tests.core.network.models import export_small_net, random


def costs(nodes, inputs, constants, tmp_path, opset=17, types=None) -> Costs:
    """Costs of a small graph on one sample."""
    types = types or {}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(k, types.get(k, TensorProto.FLOAT), v.shape) for k, v in inputs.items()],
        [helper.make_tensor_value_info("y", types.get("y", TensorProto.FLOAT), None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return Costs(helper.make_model(graph, opset_imports=opsets, ir_version=10), inputs, tmp_path, samples=1)


def node(op: str, inputs: str, outputs: str = "y", **attributes):
    names = [name.strip("-") for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), **attributes)


@pytest.mark.parametrize(
    "op, constants, shape, attributes, macs",
    [
        ("LSTM", {"w": random(1, 12, 5), "r": random(1, 12, 3)}, (7, 2, 5), {"hidden_size": 3}, 7 * 2 * 12 * (5 + 3)),
        ("GRU", {"w": random(2, 9, 5), "r": random(2, 9, 3)}, (7, 1, 5), {"hidden_size": 3}, 7 * 2 * 9 * (5 + 3)),
        ("RNN", {"w": random(1, 3, 5), "r": random(1, 3, 3)}, (7, 1, 5), {"hidden_size": 3}, 7 * 3 * (5 + 3)),
    ],
)
def test_recurrent_cells_count_both_products_of_each_step_gate_and_direction(
    tmp_path, op, constants, shape, attributes, macs
):
    attributes |= {"direction": "bidirectional"} if len(constants["w"]) == 2 else {}
    found = costs([node(op, "x w r", **attributes)], {"x": random(*shape)}, constants, tmp_path)
    assert found.macs == macs
    assert found.parameters == sum(value.size for value in constants.values())


@pytest.mark.parametrize(
    "equation, left, right, macs",
    [
        ("ij,jk->ik", (2, 3), (3, 4), 24),
        ("bhid,bhjd->bhij", (1, 2, 3, 4), (1, 2, 5, 4), 2 * 3 * 5 * 4),
        ("...ij,...jk->...ik", (6, 2, 3), (1, 3, 4), 6 * 24),
        ("ij,ij->ij", (2, 3), (2, 3), 0),
        ("i,j->ij", (2,), (3,), 0),
        ("ijk,jl->il", (2, 3, 5), (3, 4), 24),
    ],
)
def test_a_contraction_multiplies_over_every_index_that_both_operands_have(tmp_path, equation, left, right, macs):
    inputs = {"a": random(*left), "b": random(*right)}
    assert costs([node("Einsum", "a b", equation=equation)], inputs, {}, tmp_path).macs == macs


def test_products_of_computed_matrices_count_for_every_matrix_of_the_batch(tmp_path):
    found = costs([node("MatMul", "a b")], {"a": random(3, 2, 4, 5), "b": random(2, 5, 6)}, {}, tmp_path)
    assert (found.macs, found.parameters) == (3 * 2 * 4 * 5 * 6, 0)


def test_a_turned_gemm_sums_over_the_first_axis(tmp_path):
    found = costs([node("Gemm", "x w", transA=1)], {"x": random(7, 2)}, {"w": random(7, 3)}, tmp_path)
    assert found.macs == 2 * 7 * 3


def attention(q: tuple[int, ...], kv: tuple[int, ...], **attributes) -> tuple:
    return node("Attention", "q k v", **attributes), {"q": random(*q), "k": random(*kv), "v": random(*kv)}


@pytest.mark.parametrize(
    "case, macs",
    [
        (attention((2, 3, 8), (2, 5, 8), q_num_heads=2, kv_num_heads=2), 2 * 2 * 3 * 5 * 8),
        (attention((1, 4, 3, 2), (1, 2, 5, 2)), 2 * 4 * 3 * 5 * 2),
    ],
    ids=["one width", "heads apart, keys grouped"],
)
def test_attention_is_two_products_a_query_head(tmp_path, case, macs):
    assert costs([case[0]], case[1], {}, tmp_path, opset=23).macs == macs


def test_onnxruntimes_attention_projects_first(tmp_path):
    contrib = node("Attention", "x w b", num_heads=2, domain="com.microsoft")
    constants = {"w": random(6, 24), "b": random(24)}
    found = costs([contrib], {"x": random(1, 3, 6)}, constants, tmp_path)
    assert (found.macs, found.parameters) == (3 * 6 * 24 + 2 * 3 * 3 * 8, 6 * 24 + 24)


def test_onnxruntimes_multi_head_attention(tmp_path):
    contrib = node("MultiHeadAttention", "q k v", num_heads=2, domain="com.microsoft")
    inputs = {"q": random(1, 3, 8), "k": random(1, 5, 8), "v": random(1, 5, 8)}
    assert costs([contrib], inputs, {}, tmp_path).macs == 2 * 3 * 5 * 8


def test_packed_weights_of_four_bits_count_as_the_matrix_they_stand_for(tmp_path):
    packed = np.full((4, 1, 16), 0x88, np.uint8)  # 8 is zero
    packed[0, 0, 0] = 0x38  # positions 0: 8, 1: 3
    contrib = node("MatMulNBits", "x w s", K=32, N=4, bits=4, block_size=32, domain="com.microsoft")
    constants = {"w": packed, "s": np.ones(4, np.float32)}
    found = costs([contrib], {"x": random(2, 32)}, constants, tmp_path)
    assert (found.macs, found.parameters, found.nonzeros, found.bytes) == (2 * 32 * 4, 128, 1, 64 + 16)


def test_quantised_convolutions_count_like_others(tmp_path):
    names = ("xs", "xz", "w", "ws", "wz", "ys", "yz", "b")
    scale, zero = np.float32(0.1), np.uint8(0)
    weight, per_channel = np.ones((5, 3, 2, 2), np.uint8), np.full(5, 0.1, np.float32)
    values = (scale, zero, weight, per_channel, np.zeros(5, np.uint8), scale, zero, np.ones(5, np.int32))
    inputs = {"x": np.ones((1, 3, 4, 4), np.uint8)}
    types = dict.fromkeys("xy", TensorProto.UINT8)
    layer = node("QLinearConv", "x xs xz w ws wz ys yz b")
    found = costs([layer], inputs, dict(zip(names, values, strict=True)), tmp_path, types=types)
    assert (found.macs, found.parameters) == (9 * 5 * 12, 60 + 5)


def test_deformable_convolutions_count_like_others(tmp_path):
    layer = node("DeformConv", "x w o b", group=2, offset_group=1, kernel_shape=[2, 2])
    constants = {"w": np.ones((6, 2, 2, 2), np.float32), "b": np.ones(6, np.float32)}
    inputs = {"x": random(1, 4, 4, 4), "o": random(1, 8, 3, 3)}
    found = costs([layer], inputs, constants, tmp_path, opset=19)
    assert (found.macs, found.parameters) == (9 * 6 * 8, 48 + 6)


def test_integer_products_count_like_others(tmp_path):
    inputs = {"x": np.ones((2, 3), np.uint8)}
    types = {"x": TensorProto.UINT8, "y": TensorProto.INT32}
    found = costs([node("MatMulInteger", "x w")], inputs, {"w": np.ones((3, 4), np.int8)}, tmp_path, types=types)
    assert (found.macs, found.parameters, found.bytes) == (24, 12, 12)


def flops_of(network: Network, inputs: dict[str, np.ndarray]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.forward({name: torch.from_numpy(value) for name, value in inputs.items()})
    return counter.get_total_flops()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's older exporter
def test_half_of_what_torchs_counter_gives_for_a_network(tmp_path):
    network = Network.from_onnx(export_small_net(tmp_path / "net.onnx"))
    inputs = {"x": random(1, 3, 16, 16)}
    found = Costs(network.source, inputs, tmp_path)
    assert found.macs == flops_of(network, inputs) // 2
    assert found.macs == sum(layer.macs or 0 for layer in found.workers())


MIXED = {
    "grouped, strided, dilated convolution": (
        node("Conv", "x w", group=2, strides=[2, 1], dilations=[1, 2], pads=[1, 0, 2, 1]),
        {"x": random(1, 4, 9, 8)},
        {"w": random(6, 2, 3, 3)},
    ),
    "transposed convolution": (
        node("ConvTranspose", "x w", group=2, strides=[2, 3], output_padding=[1, 0]),
        {"x": random(1, 4, 5, 6)},
        {"w": random(4, 3, 2, 3)},
    ),
    "audio": (node("Conv", "x w"), {"x": random(1, 3, 20)}, {"w": random(5, 3, 4)}),
    "volume": (node("Conv", "x w"), {"x": random(1, 2, 5, 6, 7)}, {"w": random(3, 2, 2, 3, 2)}),
    "attention by hand": (node("MatMul", "a b"), {"a": random(2, 3, 4, 5), "b": random(2, 3, 5, 6)}, {}),
    "vector": (node("MatMul", "a w"), {"a": random(2, 5)}, {"w": random(5, 6)}),
    "gemm": (node("Gemm", "x w b", transB=1), {"x": random(1, 7)}, {"w": random(4, 7), "b": random(4)}),
}


@pytest.mark.parametrize("case", MIXED.values(), ids=MIXED.keys())
def test_half_of_what_torchs_counter_gives(tmp_path, case):
    layer, inputs, constants = case
    found = costs([layer], inputs, constants, tmp_path)
    network = Network.from_proto(shape_inference.infer_shapes(found.source.proto))
    assert found.macs == flops_of(network, inputs) // 2 > 0
    assert found.parameters == sum(p.numel() for p in network.graph.parameters())


@pytest.mark.parametrize(("rule", "reads"), [("linear", 4), ("gated", 4), ("delta", 4 + 2), ("gated_delta", 4 + 2)])
def test_linear_attention_counts_what_is_added_to_the_state_and_read_from_it(tmp_path, rule, reads):
    """Four query heads, two groups of keys of 5 numbers, values of 3, seven steps."""
    inputs = {"q": random(1, 7, 4 * 5), "k": random(1, 7, 2 * 5), "v": random(1, 7, 2 * 3)}
    inputs |= {name: random(1, 7, 2) for name, part in (("g", "gated"), ("b", "delta")) if part in rule}
    names = " ".join(name if name in inputs else "-" for name in ("q", "k", "v", "past", "g", "b")).rstrip(" -")
    heads = {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": rule}
    found = costs([node("LinearAttention", names, "y state", **heads)], inputs, {}, tmp_path, 27)
    assert found.macs == 7 * 5 * 3 * (2 + reads)


def test_a_causal_convolution_counts_its_kernel_at_each_place(tmp_path):
    inputs, constants = {"x": random(1, 6, 9)}, {"w": random(6, 1, 4)}
    found = costs([node("CausalConvWithState", "x w", "y state")], inputs, constants, tmp_path, 27)
    assert found.macs == 6 * 9 * 4

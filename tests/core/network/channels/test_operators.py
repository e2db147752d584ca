"""Channels through single operators, in small graphs: what can go, and that it can."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

from core.network.channels import analyse
from core.network.network import Network
from tests.core.network.invariants import (
    Subject,
    check_locked_shows,
    check_neighbours_show,
    check_removal,
    compare_removal,
    locked_because,
    shares,
)
from tests.core.network.models import model_of, random

BATCH, PLACES, WIDTH = 2, 5, 12
IS_OUTPUT = "it is an output of the model"

node = helper.make_node


def subject(nodes: list[NodeProto], constants: dict[str, Any], shape: tuple[int, ...]) -> Subject:
    """From `x` of this shape to `y` of as many axes: inference knows nothing of onnxruntime's operators."""
    model = model_of(nodes, {"x": shape}, (), constants, opset=20, ir_version=9)
    model.graph.output.append(helper.make_tensor_value_info("y", 1, [f"y{axis}" for axis in range(len(shape))]))
    return Subject(model, {"x": np.zeros(shape, np.float32)})


def check(case: Subject) -> None:
    for seed in range(3):
        check_removal(case, seed)
    check_neighbours_show(case, 0)
    check_locked_shows(case, 0)


def whole_layers(model: ModelProto) -> set[str]:
    """Layers of which all filters can go."""
    return {layer for layer, share in shares(analyse(Network.from_proto(model))).items() if share == 1.0}


def projections(**widths: int) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """Products of `x` with random matrices, to these widths."""
    nodes = [node("MatMul", ["x", f"w_{name}"], [name], name) for name in widths]
    matrices = {f"w_{name}": random(WIDTH, width, seed=k) / 3 for k, (name, width) in enumerate(widths.items())}
    return nodes, matrices


@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("with_extras", [False, True])
def test_heads_of_grouped_queries_go_with_their_keys_and_values(kv_heads: int, is_packed: bool, with_extras: bool):
    heads, width = 4, 16
    sizes = {"q": heads * width, "k": kv_heads * width, "v": kv_heads * width}
    nodes, constants = projections(**({"qkv": sum(sizes.values())} if is_packed else sizes))
    constants |= {"last": np.full(BATCH, PLACES - 1, np.int32), "total": np.array(PLACES, np.int32)}
    inputs = [*(["qkv", "", ""] if is_packed else sizes), "", "", "last", "total"]
    attributes: dict[str, Any] = {}
    if with_extras:
        angles = np.outer(np.arange(8), 0.3 ** np.arange(width // 2)).astype(np.float32)
        constants |= {"cos": np.cos(angles), "sin": np.sin(angles), "sink": random(heads, seed=8)}
        constants["bias"] = random(1, heads, PLACES, PLACES, seed=9)
        inputs += ["cos", "sin", "", "bias", "sink"]
        attributes = {"do_rotary": 1}
    constants["w_o"] = random(heads * width, 3, seed=7)
    attention = node(
        "GroupQueryAttention",
        inputs,
        ["a", "present_key", "present_value"],
        "attention",
        domain="com.microsoft",
        num_heads=heads,
        kv_num_heads=kv_heads,
        **attributes,
    )
    case = subject([*nodes, attention, node("MatMul", ["a", "w_o"], ["y"], "o")], constants, (BATCH, PLACES, WIDTH))
    assert whole_layers(case.model) == ({"qkv"} if is_packed else {"q", "k", "v"})
    assert len(analyse(Network.from_proto(case.model)).prunable()) == kv_heads
    check(case)


def test_heads_whose_keys_come_from_earlier_steps_stay():
    heads, width, cached = 4, 16, 3
    nodes, constants = projections(q=heads * width, k=heads * width, v=heads * width)
    constants |= {"last": np.full(BATCH, cached, np.int32), "total": np.array(cached + 1, np.int32)}
    attention = node(
        "GroupQueryAttention",
        ["q", "k", "v", "past_key", "past_value", "last", "total"],
        ["y", "present_key", "present_value"],
        "attention",
        domain="com.microsoft",
        num_heads=heads,
        kv_num_heads=heads,
    )
    past = dict.fromkeys(["past_key", "past_value"], (BATCH, heads, cached, width))
    model = model_of([*nodes, attention], {"x": (BATCH, 1, WIDTH), **past}, ("y",), constants, opset=20, ir_version=9)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["b", "s", "w"]))
    held = locked_because(analyse(Network.from_proto(model)))
    assert held == {"y reads past_key, which can't be cut": {"q", "k", "v"}}


def test_a_mask_that_several_layers_expand_to_their_heads_lets_each_lose_its_own():
    heads, width = 4, 3
    nodes, constants = projections(a=heads * width, b=heads * width)
    constants |= {
        "heads": np.array([0, 0, heads, width]),
        "mask": np.triu(np.full((PLACES, PLACES), -9.0, np.float32), 1),
        "full": np.array([1, heads, PLACES, PLACES]),
        "merged": np.array([0, 0, -1]),
        "w_o": random(2 * heads * width, 3, seed=7),
    }
    nodes.append(node("Expand", ["mask", "full"], ["masks"], "masks"))
    for name in ("a", "b"):
        nodes += [
            node("Reshape", [name, "heads"], [f"{name}1"]),
            node("Transpose", [f"{name}1"], [f"{name}2"], perm=[0, 2, 1, 3]),
            node("Transpose", [f"{name}1"], [f"{name}3"], perm=[0, 2, 3, 1]),
            node("MatMul", [f"{name}2", f"{name}3"], [f"{name}4"]),
            node("Add", [f"{name}4", "masks"], [f"{name}5"]),
            node("Softmax", [f"{name}5"], [f"{name}6"], axis=-1),
            node("MatMul", [f"{name}6", f"{name}2"], [f"{name}7"]),
            node("Transpose", [f"{name}7"], [f"{name}8"], perm=[0, 2, 1, 3]),
            node("Reshape", [f"{name}8", "merged"], [f"{name}9"]),
        ]
    nodes += [node("Concat", ["a9", "b9"], ["both"], axis=-1), node("MatMul", ["both", "w_o"], ["y"], "o")]
    case = subject(nodes, constants, (BATCH, PLACES, WIDTH))
    assert whole_layers(case.model) == {"a", "b"}
    assert len(analyse(Network.from_proto(case.model)).prunable()) == 2 * heads
    check(case)


IMAGE = (BATCH, 3, 6, 6)


def conv(x: str, name: str, out: int, inputs: int, constants: dict[str, np.ndarray]) -> NodeProto:
    constants[f"w_{name}"] = random(out, inputs, 3, 3, seed=len(constants)) / np.float32(3 * inputs**0.5)
    return node("Conv", [x, f"w_{name}"], [name], name, pads=[1, 1, 1, 1])


def test_an_image_read_at_computed_places_is_cut_and_the_places_stay():
    constants: dict[str, np.ndarray] = {"size": np.array([BATCH, 8, 4, 5]), "matrix": np.array([0, 2, 3])}
    constants["w_theta"] = random(8, 6, seed=30)
    nodes = [
        conv("x", "features", 8, 3, constants),
        conv("x", "where", 8, 3, constants),
        node("GlobalAveragePool", ["where"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "w_theta"], ["theta"], "theta"),
        node("Reshape", ["theta", "matrix"], ["matrices"]),
        node("AffineGrid", ["matrices", "size"], ["grid"], "grid"),
        node("GridSample", ["features", "grid"], ["read"], "read", mode="linear"),
        conv("read", "y", 2, 8, constants),
    ]
    case = subject(nodes, constants, IMAGE)
    assert locked_because(analyse(Network.from_proto(case.model))) == {
        IS_OUTPUT: {"y"},
        "grid computes places from it": {"theta"},
    }
    assert whole_layers(case.model) == {"features", "where"}
    check(case)


def test_places_that_a_convolution_says_stay():
    constants: dict[str, np.ndarray] = {}
    nodes = [
        conv("x", "features", 8, 3, constants),
        conv("x", "offsets", 2, 3, constants),
        node("Transpose", ["offsets"], ["grid"], perm=[0, 2, 3, 1]),
        node("GridSample", ["features", "grid"], ["read"], "read", mode="linear"),
        conv("read", "y", 2, 8, constants),
    ]
    case = subject(nodes, constants, IMAGE)
    assert whole_layers(case.model) == {"features"}
    check(case)


def test_an_instance_norm_with_a_computed_scale_ties_it_to_the_channels():
    constants: dict[str, np.ndarray] = {"w_style": random(8, 8, seed=30), "bias": random(8, seed=31)}
    constants["flat"] = np.array([8])
    nodes = [
        conv("x", "features", 8, 3, constants),
        conv("x", "look", 8, 3, constants),
        node("ReduceMean", ["look", "places"], ["pooled"], keepdims=0),
        node("Unsqueeze", ["pooled", "first"], ["row"]),
        node("MatMul", ["row", "w_style"], ["style"], "style"),
        node("Reshape", ["style", "flat"], ["scale"]),
        node("InstanceNormalization", ["features", "scale", "bias"], ["styled"], "styled"),
        conv("styled", "y", 2, 8, constants),
    ]
    constants |= {"first": np.array([0]), "places": np.array([0, 2, 3])}
    case = subject(nodes, constants, IMAGE)
    assert whole_layers(case.model) == {"features", "look", "style"}
    channels = analyse(Network.from_proto(case.model))
    assert any({"features", "style"} <= set(group.layers) for group in channels.groups)
    check(case)


def einsum(equation: str, *inputs: str) -> NodeProto:
    """Writes what the last name says."""
    return node("Einsum", inputs[:-1], inputs[-1:], inputs[-1], equation=equation)


HEADS, HEAD = 4, 3


@pytest.mark.parametrize(
    ("query", "key", "scores", "mixed", "merged"),
    [
        ("bid,dhk->bihk", "bid,dhk->bihk", "bihk,bjhk->bhij", "bhij,bjhk->bihk", "bihk,hkd->bid"),
        ("bid,dhk->bhik", "bid,dhk->bhik", "bhid,bhjd->bhij", "bhij,bhjd->bhid", "bhik,hkd->bid"),
        ("...d,dhk->...hk", "...d,dhk->...hk", "...ihk,...jhk->...hij", "...hij,...jhk->...ihk", "...hk,hkd->...d"),
        ("bid,dhk->bhik", "bid,dk->bik", "bhid,bjd->bhij", "bhij,bjd->bhid", "bhik,hkd->bid"),
    ],
    ids=["heads_third", "heads_second", "ellipses", "shared_keys"],
)
def test_heads_go_through_einsums(query: str, key: str, scores: str, mixed: str, merged: str):
    wide = (WIDTH, HEADS, HEAD) if "h" in key else (WIDTH, HEAD)
    nodes = [
        einsum(query, "x", "w_q", "q"),
        einsum(key, "x", "w_k", "k"),
        einsum(key, "x", "w_v", "v"),
        einsum(scores, "q", "k", "s"),
        node("Softmax", ["s"], ["p"], axis=-1),
        einsum(mixed, "p", "v", "a"),
        einsum(merged, "a", "w_o", "y"),
    ]
    constants = {"w_q": random(WIDTH, HEADS, HEAD, seed=1) / 3, "w_k": random(*wide, seed=2) / 3}
    constants |= {"w_v": random(*wide, seed=3) / 3, "w_o": random(HEADS, HEAD, 6, seed=4)}
    case = subject(nodes, constants, (BATCH, PLACES, WIDTH))
    assert whole_layers(case.model) == ({"q", "k", "v"} if "h" in key else {"q"})
    assert len(analyse(Network.from_proto(case.model)).prunable()) == HEADS
    check(case)


@pytest.mark.parametrize("equation", ["nchw,nc->nchw", "...chw,...c->...chw"])
def test_an_einsum_ties_a_gate_to_its_channels(equation: str):
    constants: dict[str, np.ndarray] = {"w_gate": random(8, 8, seed=30)}
    nodes = [
        conv("x", "features", 8, 3, constants),
        node("GlobalAveragePool", ["features"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "w_gate"], ["gate"], "gate"),
        einsum(equation, "features", "gate", "gated"),
        conv("gated", "y", 2, 8, constants),
    ]
    case = subject(nodes, constants, IMAGE)
    assert whole_layers(case.model) == {"features", "gate"}
    check(case)


def test_an_einsum_that_names_no_result_is_followed():
    constants: dict[str, np.ndarray] = {"w_mix": random(8, 6, seed=30)}
    nodes = [
        conv("x", "features", 8, 3, constants),
        einsum("nchw,co", "features", "w_mix", "mixed"),  # (h, n, o, w)
        node("Transpose", ["mixed"], ["images"], perm=[1, 2, 0, 3]),
        conv("images", "y", 2, 6, constants),
    ]
    case = subject(nodes, constants, IMAGE)
    assert whole_layers(case.model) == {"features"}
    check(case)


def test_a_channel_that_is_spread_over_all_others_stays():
    """Gates of one channel each, as a FocalNet's."""
    constants: dict[str, np.ndarray] = {"sizes": np.array([8, 1, 1])}
    nodes = [
        conv("x", "all", 10, 3, constants),
        node("Split", ["all", "sizes"], ["features", "first", "second"], axis=1),
        node("Mul", ["features", "first"], ["gated"], "gated"),
        einsum("nchw,nchw->nchw", "gated", "second", "twice"),
        conv("twice", "y", 2, 8, constants),
    ]
    case = subject(nodes, constants, IMAGE)
    channels = analyse(Network.from_proto(case.model))
    assert shares(channels)["all"] == 0.8
    assert set(locked_because(channels)) == {IS_OUTPUT, "gated repeats it", "twice repeats it"}
    check(case)


def test_places_that_reshapes_and_slices_pick_leave_the_channels_behind_them():
    """Every second row and column of 4 x 4 tokens, as LeViT's queries are thinned out."""
    nodes, constants = projections(a=8)
    constants |= {"grid": np.array([-1, 4, 4, 8]), "tokens": np.array([-1, 4, 8]), "w_o": random(8, 3, seed=7)}
    constants |= {
        "start": np.array([0, 0]),
        "end": np.array([4, 4]),
        "axes": np.array([1, 2]),
        "step": np.array([2, 2]),
    }
    nodes += [
        node("Reshape", ["a", "grid"], ["square"]),
        node("Slice", ["square", "start", "end", "axes", "step"], ["thin"]),
        node("Reshape", ["thin", "tokens"], ["row"]),
        node("MatMul", ["row", "w_o"], ["y"], "o"),
    ]
    case = subject(nodes, constants, (BATCH, 16, WIDTH))
    assert whole_layers(case.model) == {"a"}
    check(case)


@pytest.mark.parametrize(("start", "end"), [(-4, 2**31), (0, -4), (-6, -2)])
def test_a_slice_that_counts_from_the_end_keeps_its_place(start: int, end: int):
    """Also where none of the channels goes that the number by itself would have been counted by."""
    constants: dict[str, np.ndarray] = {"start": np.array([start]), "end": np.array([end]), "axis": np.array([1])}
    width = len(range(8)[start:end])
    nodes = [
        conv("x", "features", 8, 3, constants),
        node("Slice", ["features", "start", "end", "axis"], ["part"]),
        conv("features", "all", 2, 8, constants),
        conv("part", "some", 2, width, constants),
        node("Add", ["all", "some"], ["y"]),
    ]
    case = subject(nodes, constants, IMAGE)
    check(case)
    network = Network.from_proto(case.model)
    filters = analyse(network).output_axis("features")
    assert filters is not None
    for place in range(8):
        compare_removal(network, filters.ids[place : place + 1], case.inputs(0))


def test_constants_that_an_exporter_merged_are_cut_each_with_its_own_channels():
    """Scales along one axis, as those of group norms that torch's exporter writes out."""
    constants: dict[str, np.ndarray] = {"scale": np.ones((8, 1, 1), np.float32) / 2}
    nodes = [
        conv("x", "first", 8, 3, constants),
        node("Mul", ["first", "scale"], ["scaled"]),
        conv("scaled", "second", 8, 8, constants),
        node("Mul", ["second", "scale"], ["again"]),
        conv("again", "y", 2, 8, constants),
    ]
    case = subject(nodes, constants, IMAGE)
    assert whole_layers(case.model) == {"first", "second"}
    assert len(analyse(Network.from_proto(case.model)).prunable()) == 16
    check(case)


def test_a_table_that_is_also_read_where_nothing_can_be_cut_holds_the_channels():
    """Added to filters, and to three copies of the input."""
    constants: dict[str, np.ndarray] = {"table": random(9, 6, 6, seed=30)}
    nodes = [
        node("Concat", ["x", "x", "x"], ["copies"], axis=1),
        node("Add", ["copies", "table"], ["moved"]),
        conv("moved", "other", 8, 9, constants),
        conv("x", "features", 9, 3, constants),
        node("Add", ["features", "table"], ["shifted"]),
        conv("shifted", "middle", 8, 9, constants),
        node("Add", ["middle", "other"], ["sum"]),
        conv("sum", "y", 2, 8, constants),
    ]
    case = subject(nodes, constants, IMAGE)
    assert locked_because(analyse(Network.from_proto(case.model))) == {
        IS_OUTPUT: {"y"},
        "table is also used where it can't be cut": {"features"},
    }
    check(case)


def heads_of(name: str, perm: list[int]) -> list[NodeProto]:
    """(batch, places, heads * width) laid out by heads."""
    return [
        node("Reshape", [name, "heads"], [f"{name}_heads"]),
        node("Transpose", [f"{name}_heads"], [f"{name}_apart"], perm=perm),
    ]


def test_keys_that_are_repeated_for_every_head_are_repeated_for_fewer():
    """One head of keys and values, expanded to those of the queries (multi-query attention)."""
    nodes, constants = projections(q=HEADS * HEAD, k=HEAD, v=HEAD)
    constants |= {"heads": np.array([0, 0, HEADS, HEAD]), "one": np.array([1])}
    constants |= {"wide": np.array([1, HEADS, 1, 1]), "merged": np.array([0, 0, HEADS * HEAD])}
    constants["w_o"] = random(HEADS * HEAD, 3, seed=7)
    nodes += [
        *heads_of("q", [0, 2, 1, 3]),
        node("Unsqueeze", ["k", "one"], ["k1"]),
        node("Expand", ["k1", "wide"], ["k2"]),
        node("Transpose", ["k2"], ["k3"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q_apart", "k3"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("Unsqueeze", ["v", "one"], ["v1"]),
        node("Expand", ["v1", "wide"], ["v2"]),
        node("MatMul", ["weights", "v2"], ["read"]),
        node("Transpose", ["read"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "merged"], ["flat"]),
        node("MatMul", ["flat", "w_o"], ["y"], "o"),
    ]
    case = subject(nodes, constants, (BATCH, PLACES, WIDTH))
    assert "q" in whole_layers(case.model)
    assert len(analyse(Network.from_proto(case.model)).prunable()) == HEADS
    check(case)


@pytest.mark.parametrize("times", ["computed", "given"])
def test_a_table_of_every_head_that_is_copied_for_each_sample_is_cut_with_the_heads(times: str):
    """Heads lie along the batch, as DeBERTa's; keys of relative positions are the same for all samples."""
    nodes, constants = projections(q=HEADS * HEAD)
    constants |= {"heads": np.array([0, 0, HEADS, HEAD]), "table": random(HEADS, 7, HEAD, seed=5)}
    constants |= {"bmm": np.array([-1, PLACES, HEAD]), "back": np.array([-1, HEADS, PLACES, 7])}
    constants |= {"ones": np.array([1, 1]), "merged": np.array([0, 0, HEADS * 7])}
    constants |= {"repeats": np.array([BATCH, 1, 1]), "w_o": random(HEADS * 7, 3, seed=7)}
    computed = [node("Shape", ["x"], ["batch"], start=0, end=1), node("Concat", ["batch", "ones"], ["by"], axis=0)]
    nodes += [
        *heads_of("q", [0, 2, 1, 3]),
        node("Reshape", ["q_apart", "bmm"], ["q1"]),
        *(computed if times == "computed" else []),
        node("Tile", ["table", "by" if times == "computed" else "repeats"], ["tables"]),
        node("Transpose", ["tables"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["q1", "turned"], ["scores"]),
        node("Reshape", ["scores", "back"], ["apart"]),
        node("Softmax", ["apart"], ["weights"], axis=-1),
        node("Transpose", ["weights"], ["last"], perm=[0, 2, 1, 3]),
        node("Reshape", ["last", "merged"], ["flat"]),
        node("MatMul", ["flat", "w_o"], ["y"], "o"),
    ]
    case = subject(nodes, constants, (BATCH, PLACES, WIDTH))
    if times == "computed":
        case.model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert whole_layers(case.model) == {"q"}
    check(case)


@pytest.mark.parametrize("start", ["zeros", "zeros_like"])
def test_a_state_that_is_written_step_by_step_has_the_channels_of_every_step(start: str):
    """As RWKV's, whose exporter writes each step by a ScatterND into zeros, of which it also asks the sizes."""
    nodes, constants = projections(k=8, r=8)
    constants |= {"zeros": np.zeros((BATCH, PLACES, 8), np.float32), "w_o": random(8, 3, seed=7)}
    constants |= {"scale": random(8, seed=9), "second": np.array(1)}
    state = start
    nodes += [
        node("Shape", ["k"], ["sizes"]),
        node("ConstantOfShape", ["sizes"], ["zeros_like"]),
        node("Gather", [start, "second"], ["row"], axis=1),
        node("Shape", ["row"], ["row_sizes"]),
    ]
    for step in range(2):
        constants[f"at{step}"] = np.array([[row, 2 * step] for row in range(BATCH)])
        constants[f"step{step}"] = np.array(step)
        nodes += [
            node("Gather", ["k", f"step{step}"], [f"k{step}"], axis=1),
            node("Mul", [f"k{step}", "scale"], [f"s{step}"]),
            node("Expand", [f"s{step}", "row_sizes"], [f"e{step}"]),
            node("ScatterND", [state, f"at{step}", f"e{step}"], [f"state{step}"]),
        ]
        state = f"state{step}"
    nodes += [node("Mul", [state, "r"], ["gated"]), node("MatMul", ["gated", "w_o"], ["y"], "o")]
    case = subject(nodes, constants, (BATCH, PLACES, WIDTH))
    assert whole_layers(case.model) == {"k", "r"}
    check(case)


def test_elements_that_are_picked_by_several_numbers_have_the_channels_behind_them():
    nodes, constants = projections(k=8)
    constants |= {"w_o": random(8, 3, seed=7), "at": np.array([[[0, 1], [1, 4]], [[1, 0], [0, 0]]])}
    nodes += [node("GatherND", ["k", "at"], ["picked"]), node("MatMul", ["picked", "w_o"], ["y"], "o")]
    case = subject(nodes, constants, (BATCH, PLACES, WIDTH))
    assert whole_layers(case.model) == {"k"}
    check(case)

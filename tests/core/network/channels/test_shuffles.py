"""Chains of reshapes and transposes that only pick channels are seen through, whatever they are made of."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from core.network.channels.shuffles import Shuffle, find_shuffles
from core.network.network import Network
from core.network.shapes import value_shapes


def chained(shape: list[int], moves: list[tuple[str, list[int]]]) -> Network:
    """A network of one input that goes through reshapes and transposes, and then a Relu."""
    nodes, constants, value = [], [], "x"
    for place, (op, numbers) in enumerate(moves):
        if op == "Reshape":
            constants.append(numpy_helper.from_array(np.array(numbers, np.int64), f"s{place}"))
            nodes.append(helper.make_node(op, [value, f"s{place}"], [f"v{place}"]))
        else:
            nodes.append(helper.make_node(op, [value], [f"v{place}"], perm=numbers))
        value = f"v{place}"
    nodes.append(helper.make_node("Relu", [value], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["?"] * len(shape))
    graph = helper.make_graph(nodes, "chain", [x], [y], constants)
    return Network.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def shuffles(network: Network) -> dict[str, Shuffle]:
    ends, _ = find_shuffles(network.graph, value_shapes(network))
    return {node.meta["value"]: found for node, found in ends.items()}


def test_a_channel_shuffle_takes_one_channel_of_each_group_in_turn() -> None:
    moves = [("Reshape", [1, 2, 3, 4, 4]), ("Transpose", [0, 2, 1, 3, 4]), ("Reshape", [1, 6, 4, 4])]
    network = chained([1, 6, 4, 4], moves)
    ends, inner = find_shuffles(network.graph, value_shapes(network))
    (found,) = ends.values()
    assert (found.axis, found.positions.tolist()) == (1, [0, 3, 1, 4, 2, 5])
    assert {node.meta["value"] for node in inner} == {"v0", "v1"}


def test_a_transpose_of_the_image_is_none() -> None:
    moves = [("Reshape", [1, 6, 16]), ("Transpose", [0, 2, 1]), ("Reshape", [1, 6, 4, 4])]
    assert not shuffles(chained([1, 6, 4, 4], moves))


@given(st.permutations([0, 1, 2, 3]), st.sampled_from([(2, 3), (3, 2), (6, 1)]), st.integers(1, 3))
def test_what_is_called_a_pick_is_one(perm: list[int], sides: tuple[int, int], places: int) -> None:
    network = chained(
        [1, 6, places], [("Reshape", [1, *sides, places]), ("Transpose", perm), ("Reshape", [1, 6, places])]
    )
    x = torch.randn(1, 6, places)
    moved = x.reshape(1, *sides, places).permute(perm).reshape(1, 6, places)
    found = shuffles(network).get("v2")
    picks = [p for p in range(6) if any(torch.equal(moved[0, k], x[0, p]) for k in range(6))]
    if found is not None and found.axis == 1:
        assert torch.equal(moved, x[:, torch.from_numpy(found.positions)])
    elif found is None:
        assert len(picks) < 6 or torch.equal(moved, x)

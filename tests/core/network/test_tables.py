"""Position embeddings and class tokens are trained, counted and cut; masks and grids are not trained."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from core.measure.costs import Costs
from core.network.network import Network
from core.network.tables import looks_trained
from tests.core.network.invariants import Subject, check_removal
from tests.core.network.models import model_of, random

small = st.integers(2, 6)


@given(small, small, st.integers(0, 2**16))
def test_random_numbers_look_trained(rows: int, columns: int, seed: int):
    assert looks_trained(random(rows, columns, seed=seed))


@given(small, small, st.floats(-1e9, 0, width=32))
def test_a_mask_does_not(rows: int, columns: int, hidden: float):
    mask = np.triu(np.full((rows, columns), hidden, np.float32), 1)
    assert not looks_trained(mask)
    assert not looks_trained(mask + 1)


@given(small, small)
def test_a_grid_of_pixels_does_not(rows: int, columns: int):
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns)), -1).astype(np.float32)
    assert not looks_trained(places)
    assert not looks_trained(places + 0.5)


def test_what_masks_beside_a_bias_does_not():
    assert not looks_trained(np.array([[0.3, -np.inf], [0.1, 0.2]], np.float32))
    assert not looks_trained(np.array([[0.3, np.nan], [0.1, 0.2]], np.float32))


def encoder(batch: int | str, stored: int = TensorProto.FLOAT) -> ModelProto:
    """Patches behind a class token, with a place added to each, and a layer on all of them."""
    nodes = [
        helper.make_node("MatMul", ["x", "patch.weight"], ["patches"]),
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Gather", ["size", "first"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["tokens"], axis=0),
        helper.make_node("Expand", ["token", "tokens"], ["leading"]),
        helper.make_node("Concat", ["leading", "patches"], ["sequence"], axis=1),
        helper.make_node("Add", ["sequence", "places"], ["placed"]),
        helper.make_node("Add", ["placed", "mask"], ["masked"]),
        helper.make_node("MatMul", ["masked", "head.weight"], ["y"]),
    ]
    constants = {"patch.weight": random(3, 8, seed=1), "head.weight": random(8, 2, seed=2)}
    constants |= {"token": random(1, 1, 8, seed=3), "places": random(1, 5, 8, seed=4)}
    constants = {name: value.astype(helper.tensor_dtype_to_np_dtype(stored)) for name, value in constants.items()}
    constants["mask"] = np.tril(np.ones((5, 8), constants["token"].dtype))
    constants |= {"first": np.array([0]), "rest": np.array([1, 8])}
    return model_of(nodes, {"x": [batch, 4, 3]}, constants=constants, types={"x": stored, "y": stored})


@pytest.mark.parametrize("batch", ["n", 1])
def test_tables_are_parameters(batch: int | str, tmp_path):
    model = encoder(batch)
    network = Network.from_proto(model)
    alone = {name: tuple(tensor.shape) for name, tensor in network.graph._parameters.items() if tensor is not None}
    assert sorted(alone.values()) == [(1, 1, 8), (1, 5, 8)]
    assert Costs(model, {"x": random(1, 4, 3)}, tmp_path).parameters == 24 + 16 + 8 + 40


def test_tables_get_gradients():
    network = Network.from_proto(encoder("n"))
    network.forward({"x": torch.randn(2, 4, 3)})["y"].square().sum().backward()
    grads = [tensor.grad for tensor in network.graph._parameters.values() if tensor is not None]
    assert len(grads) == 2
    assert all(grad is not None and bool((grad != 0).all()) for grad in grads)


def test_a_table_is_cut_with_the_width_that_it_is_added_to():
    model = encoder("n")
    del model.graph.node[7]  # the mask, which is no parameter that could be zeroed
    model.graph.node[7].input[0] = "placed"
    for seed in range(3):
        check_removal(Subject(model, {"x": random(2, 4, 3)}), seed)


def test_a_table_in_half_precision_is_kept_in_single(tmp_path):
    network = Network.from_proto(encoder("n", TensorProto.FLOAT16))
    with torch.no_grad():
        for tensor in network.graph.parameters():
            tensor.add_(1e-5)
    network.save(tmp_path)
    loaded = dict(Network.load(tmp_path).graph.named_parameters())
    for name, tensor in network.graph.named_parameters():
        assert torch.equal(loaded[name], tensor)

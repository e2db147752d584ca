"""Einsum against onnxruntime; with a constant second operand it is a layer like any other."""

import numpy as np
import pytest
import torch
from onnx import ModelProto, helper

from core.formulas import AffineInt8
from core.measure.costs import Costs
from core.network.channels import analyse
from core.network.network import Network
from tests.core.network.agreement import assert_agrees
from tests.core.network.invariants import Subject, check_removal
from tests.core.network.models import model_of, random, run_onnx

EQUATIONS = {
    "bij,bjk->bik": ((2, 3, 4), (2, 4, 5)),
    "b i j , k j": ((2, 3, 4), (5, 4)),
    "...ij,...kj->...ik": ((2, 2, 3, 4), (2, 2, 5, 4)),
    "bhwc,hkc->bhwk": ((2, 3, 4, 5), (3, 6, 5)),
    "ii->i": ((3, 3),),
}

LAYERS = {
    "btd,dhk->bthk": ((2, 3, 4), (4, 5, 6)),
    "bthk,hkd->btd": ((2, 3, 4, 5), (4, 5, 6)),
    "bthk,khd->bdt": ((2, 3, 4, 5), (5, 4, 6)),
    "ibh,hnd->ibnd": ((2, 3, 4), (4, 5, 6)),
    "...c,cd->...d": ((2, 3, 4), (4, 5)),
    "bchw,oc->bohw": ((2, 3, 4, 5), (6, 3)),
}

NO_LAYERS = {
    "bd,bd->bd": ((2, 3), (2, 3)),
    "bed,edk->bek": ((2, 3, 4), (3, 4, 5)),
    "bd,kv->bdkv": ((2, 3), (4, 5)),
    "bd,dk->b": ((2, 3), (3, 4)),
    "btd,d->bt": ((2, 3, 4), (4,)),
    "bd,dk->kb": ((2, 1), (3, 4)),
}


def einsum(equation: str, x: tuple[int, ...], *weights: tuple[int, ...]) -> ModelProto:
    """The equation of a computed x, whose first axis is free, and constants."""
    names = [f"w{place}" for place in range(len(weights))]
    node = helper.make_node("Einsum", ["x", *names], ["y"], equation=equation, name="mixed")
    constants = {
        name: random(*shape, seed=place) for place, (name, shape) in enumerate(zip(names, weights, strict=True))
    }
    return model_of([node], {"x": ["n", *x[1:]]}, constants=constants)


@pytest.mark.parametrize("is_constant", [False, True])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str, is_constant: bool):
    values = {f"v{k}": random(*shape, seed=k) for k, shape in enumerate(EQUATIONS[equation])}
    inputs = {name: x for name, x in values.items() if name == "v0" or not is_constant}
    constants = {name: x for name, x in values.items() if name not in inputs}
    node = helper.make_node("Einsum", list(values), ["y"], equation=equation)
    shapes = {name: x.shape for name, x in inputs.items()}
    assert_agrees(model_of([node], shapes, constants=constants), inputs)


@pytest.mark.parametrize("equation", LAYERS)
def test_a_product_with_a_matrix_is_a_layer(equation: str, tmp_path):
    x, weight = LAYERS[equation]
    model = einsum(equation, x, weight)
    network = Network.from_proto(model)
    (layer,) = network.layers()
    assert (layer.name, layer.kind) == ("mixed", "MatMul")
    assert sorted(layer.weight.flatten().tolist()) == sorted(random(*weight).flatten().tolist())
    assert Costs(model, {"x": random(*x)}, tmp_path).parameters == layer.weight.numel()
    assert_agrees(model, {"x": random(*x)})


@pytest.mark.parametrize("equation", LAYERS)
def test_with_another_weight_it_is_written_anew(equation: str):
    x, weight = LAYERS[equation]
    network = Network.from_proto(einsum(equation, x, weight))
    network.layer("mixed").reparametrise(AffineInt8())
    inputs = {"x": random(*x, seed=9)}
    (found,) = run_onnx(network.to_proto(), inputs)
    in_torch = network.forward({"x": torch.from_numpy(inputs["x"])})["y"].detach()
    np.testing.assert_allclose(found, in_torch, rtol=1e-5, atol=1e-5)
    (exact,) = run_onnx(einsum(equation, x, weight), inputs)
    assert 0 < np.abs(found - exact).max() < 0.2


@pytest.mark.parametrize("equation", LAYERS)
def test_a_batch_of_none_passes(equation: str):
    x, weight = LAYERS[equation]
    network = Network.from_proto(einsum(equation, x, weight))
    (found,) = run_onnx(einsum(equation, x, weight), {"x": random(0, *x[1:])})
    assert network.forward({"x": torch.zeros(0, *x[1:])})["y"].shape == found.shape


@pytest.mark.parametrize("equation", NO_LAYERS)
def test_other_products_are_no_layers(equation: str):
    x, weight = NO_LAYERS[equation]
    model = einsum(equation, x, weight)
    assert not Network.from_proto(model).layers()
    assert_agrees(model, {"x": random(*x)})


def test_heads_of_an_attention_in_einsums_can_go():
    """As Keras writes it: kernels of (width, heads, size) and (heads, size, width)."""
    nodes = [helper.make_node("Einsum", ["x", f"{part}.kernel"], [part], equation="btd,dhk->bthk") for part in "qkv"]
    nodes += [
        helper.make_node("Einsum", ["q", "k"], ["scores"], equation="bthk,bshk->bhts"),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("Einsum", ["shares", "v"], ["heads"], equation="bhts,bshk->bthk"),
        helper.make_node("Einsum", ["heads", "o.kernel"], ["out"], equation="bthk,hkd->btd"),
        helper.make_node("Einsum", ["out", "last"], ["y"], equation="btd,dc->btc"),
    ]
    constants = {f"{part}.kernel": random(6, 4, 3, seed=place) for place, part in enumerate("qkv")}
    constants |= {"o.kernel": random(4, 3, 6, seed=4), "last": random(6, 2, seed=5)}
    model = model_of(nodes, {"x": ["n", 5, 6]}, constants=constants)
    channels = analyse(Network.from_proto(model))
    assert sorted((len(group.units), group.layers) for group in channels.groups) == [
        (4, ["Einsum_0", "Einsum_1", "Einsum_2"]),
        (6, ["Einsum_3"]),
    ]
    for seed in range(4):
        check_removal(Subject(model, {"x": random(2, 5, 6)}), seed)

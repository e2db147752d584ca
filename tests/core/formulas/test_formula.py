import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from core.formulas import (
    AffineInt8,
    BiasInt32,
    Codebook,
    Emitter,
    Formula,
    Masked,
    attach,
    detach,
    formula_of,
    restore,
    to_config,
)
from core.formulas.formula import KINDS
from modelpress.problem import ModelError


def weight(shape: tuple[int, ...] = (6, 4, 3, 3)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def every_formula() -> list[Formula]:
    mask = weight() > 0
    formulas = [
        Masked(mask),
        Masked(mask, Codebook(bits=3)),
        Masked(mask, AffineInt8(axis=None)),
        Codebook(bits=4),
        AffineInt8(),
        AffineInt8(axis=1, bits=7, integer_kernels=True),
        AffineInt8(weight=Masked(mask, Codebook(bits=2))),
    ]
    for formula in formulas:
        formula.fit(weight())
    bias = BiasInt32(torch.full((6,), 0.01))
    bias.fit(weight()[:, 0, 0, 0])
    return [*formulas, bias]


def test_every_kind_is_in_this_table():
    used = {module.kind for formula in every_formula() for module in formula.modules() if isinstance(module, Formula)}
    assert used == set(KINDS)


@pytest.mark.parametrize("formula", every_formula(), ids=lambda f: f.kind)
def test_json_and_tensors_bring_a_formula_back(formula):
    config = json.loads(json.dumps(to_config(formula)))
    tensors = {name: tensor.clone() for name, tensor in formula.state_dict().items()}
    back = restore(config, tensors)
    assert torch.equal(back(), formula())
    assert back.stored() == formula.stored()
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in formula.parameters()]


@pytest.mark.parametrize(
    "config, wrong",
    [
        ({"kind": "pickle"}, "no formula is called"),
        ({"kind": "masked", "shape": [-1], "values": None}, "list of sizes"),
        ({"kind": "masked", "shape": [2**20, 2**20], "values": None}, "more elements"),
        ({"kind": "masked", "shape": "6", "values": None}, "list of sizes"),
        ({"kind": "masked"}, "description"),
        ({"kind": "codebook", "bits": 9, "iterations": 1, "shape": [4], "values": 2}, "bits"),
        ({"kind": "codebook", "bits": 2, "iterations": 1, "shape": [4], "values": 99}, "99 values"),
        ({"kind": "codebook", "bits": 2, "iterations": 1, "shape": [4], "values": 2}, "don't fit"),
        (
            {"kind": "affine_int8", "axis": 3, "bits": 8, "integer_kernels": True, "shape": [4], "weight": None},
            "axis 3",
        ),
    ],
    ids=str,
)
def test_a_description_from_outside_that_is_wrong_is_refused(config, wrong):
    with pytest.raises(ModelError, match=wrong):
        restore(config, {})


def test_an_index_beyond_the_table_is_refused():
    formula = Codebook(bits=2)
    formula.fit(weight())
    tensors = formula.state_dict()
    tensors["index"] = torch.full_like(tensors["index"], 200)
    with pytest.raises(ModelError, match="number 200"):
        restore(to_config(formula), tensors)


def test_more_kept_weights_than_values_are_refused():
    formula = Masked(weight() > 0, Codebook(bits=2))
    formula.fit(weight())
    tensors = formula.state_dict()
    tensors["mask"] = torch.ones_like(tensors["mask"])
    with pytest.raises(ModelError, match="keeps 216"):
        restore(to_config(formula), tensors)


def test_tensors_of_another_type_are_refused():
    formula = Codebook(bits=2)
    formula.fit(weight())
    tensors = {name: tensor.double() for name, tensor in formula.state_dict().items()}
    with pytest.raises(ModelError, match="wrong type"):
        restore(to_config(formula), tensors)


def test_an_attached_formula_computes_the_weight_and_learns():
    layer = nn.Conv2d(4, 6, 3)
    formula = Masked(torch.ones(6, 4, 3, 3, dtype=torch.bool))
    formula.fit(layer.weight)
    x = torch.randn(1, 4, 5, 5)
    expected = layer(x)
    attach(layer, formula)
    assert isinstance(layer, nn.Conv2d)
    assert formula_of(layer) is formula
    assert torch.equal(layer(x), expected)
    assert {name for name, _ in layer.named_parameters()} == {"bias", "weight_formula.values"}
    layer(x).sum().backward()
    assert formula.values.grad is not None


def test_attaching_another_replaces_the_first():
    layer = nn.Linear(4, 6)
    first, second = Codebook(bits=2), Codebook(bits=3)
    for formula in (first, second):
        formula.fit(layer.weight)
        attach(layer, formula)
    assert formula_of(layer) is second
    assert torch.equal(layer.weight, second())


def test_a_detached_layer_is_an_ordinary_one_with_the_same_weight():
    layer = nn.Linear(4, 6)
    formula = Codebook(bits=2)
    formula.fit(layer.weight)
    attach(layer, formula)
    detach(layer)
    assert type(layer) is nn.Linear
    assert isinstance(layer.weight, nn.Parameter)
    assert torch.equal(layer.weight, formula())


def test_weight_and_bias_can_both_be_computed_and_come_back_one_by_one():
    layer = nn.Linear(64, 64)
    for tensor in ("weight", "bias"):
        formula = Codebook(bits=2)
        formula.fit(getattr(layer, tensor))
        attach(layer, formula, tensor)
    detach(layer)
    assert formula_of(layer, "bias") is not None
    assert layer.bias.unique().numel() <= 4
    detach(layer, "bias")
    assert type(layer) is nn.Linear


def test_tied_layers_train_the_one_formula():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    formula = Codebook(bits=2)
    formula.fit(first.weight)
    for layer in (first, second):
        attach(layer, formula)
    assert len(list(nn.ModuleList([first, second]).parameters())) == 3  # two biases, one table


def test_a_copy_of_a_layer_has_a_formula_of_its_own():
    layer = nn.Linear(4, 4)
    formula = Codebook(bits=2)
    formula.fit(layer.weight)
    attach(layer, formula)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        formula.values.zero_()
    assert twin.weight.abs().sum() > 0


def test_names_of_emitted_values_are_never_given_twice():
    out = Emitter(taken=["w"])
    names = [out.initializer("w", np.zeros(1)), out.initializer("w", np.zeros(1)), out.node("Relu", ["w"], name="w")]
    assert names == ["w_1", "w_2", "w_3"]


def test_an_operator_with_several_outputs_names_them_all():
    out = Emitter()
    assert out.node("Split", ["x"], outputs=2, name="half", axis=0) == ("half_0", "half_1")

"""Sparse initialisers are weights like others."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from core.network import Network
from modelpress.problem import ModelError, ModelTooLarge
from tests.core.network.models import model_of, random, run_onnx

HELD = {(0, 1): 1.5, (2, 0): -2.0, (3, 2): 0.25}


def sparse_model(indices: np.ndarray, kind: type = np.float32, dims: tuple[int, int] = (4, 3)) -> ModelProto:
    """y = x w, of whose twelve numbers three are held."""
    values = numpy_helper.from_array(np.array(list(HELD.values()), kind), "w")
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], {"x": ["n", 4]})
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "w.places"), list(dims))
    )
    return model


def flat() -> np.ndarray:
    return np.array([row * 3 + column for row, column in HELD])


@pytest.mark.parametrize("indices", [flat(), np.array(list(HELD))], ids=["flat", "by axes"])
def test_it_is_a_layers_weight(indices: np.ndarray, tmp_path: Path):
    model = sparse_model(indices)
    onnx.save(model, str(tmp_path / "model.onnx"))
    network = Network.from_onnx(tmp_path / "model.onnx")
    weight = np.zeros((4, 3), np.float32)
    for place, value in HELD.items():
        weight[place] = value
    np.testing.assert_array_equal(network.layer("fc").weight.detach().numpy(), weight.T)
    x = random(5, 4)
    (expected,) = run_onnx(tmp_path / "model.onnx", {"x": x})
    np.testing.assert_allclose(network({"x": torch.from_numpy(x)})["y"].detach().numpy(), expected, rtol=1e-6)
    assert network.to_proto() == model
    with torch.no_grad():
        network.layer("fc").weight.mul_(2)
    np.testing.assert_allclose(run_onnx(network.to_proto(), {"x": x})[0], 2 * expected, rtol=1e-6)


def test_places_beyond_its_shape_are_told():
    with pytest.raises(ModelError, match=r"w\.places"):
        Network.from_proto(sparse_model(np.array([0, 1, 12])))


def test_one_that_is_huge_when_dense_is_told_before_it_is_made():
    with pytest.raises(ModelTooLarge, match=r"\[1000000000, 1000000000\]"):
        Network.from_proto(sparse_model(flat(), dims=(10**9, 10**9)))


def test_a_name_is_an_initialisers_once():
    model = sparse_model(flat())
    model.graph.initializer.append(numpy_helper.from_array(random(4, 3), "w"))
    with pytest.raises(ModelError, match="initialisers are called 'w'"):
        Network.from_proto(model)


def test_a_type_that_torch_has_not_is_told():
    model = sparse_model(flat())
    model.graph.sparse_initializer[0].values.CopyFrom(
        helper.make_tensor("w", TensorProto.COMPLEX64, [3], np.array([1, 2, 3], np.complex64))
    )
    with pytest.raises(ModelError, match="sparse initialiser 'w' has the element type COMPLEX64"):
        Network.from_proto(model)

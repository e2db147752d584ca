import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from core.formulas import AffineInt8, BiasInt32, Emitter
from core.formulas.bias import WIDEST
from tests.core.formulas.loaded import session


def fitted(values: list[float], scale: list[float]) -> BiasInt32:
    formula = BiasInt32(torch.tensor(scale))
    formula.fit(torch.tensor(values))
    return formula


def emitted(formula: BiasInt32) -> tuple[np.ndarray, Emitter]:
    out = Emitter()
    name = formula.emit(out, "bias")
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1 if n == "x" else None]) for n in ("x", name)]
    graph = helper.make_graph(out.nodes, "g", ports[:1], ports[1:], out.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return session(model).run(None, {"x": np.zeros(1, np.float32)})[0], out


def test_a_bias_is_rounded_to_whole_steps_of_its_channel():
    assert torch.allclose(fitted([1.04, -0.26], [0.1, 0.5])(), torch.tensor([1.0, -0.5]))


def test_onnxruntime_computes_the_same_bias_from_32_bit_integers():
    formula = fitted([1.04, -0.26, 1234.5], [0.1, 0.5, 1e-5])
    found, out = emitted(formula)
    assert np.array_equal(found, formula().detach().numpy())
    assert numpy_helper.to_array(out.initializers[0]).dtype == np.int32


def test_it_leaves_half_of_the_range_to_the_sums():
    _, out = emitted(fitted([1e9, -1e9], [1e-9, 1e-9]))
    assert numpy_helper.to_array(out.initializers[0]).tolist() == [WIDEST, -WIDEST]


def test_a_linked_bias_follows_the_scales_of_input_and_weight():
    weight = AffineInt8()
    weight.fit(torch.tensor([[1.27], [2.54]]))
    input_scale = torch.tensor(0.5)
    formula = fitted([1.0, 1.0], [9.0, 9.0])
    formula.link(input_scale, weight)
    formula()
    assert torch.allclose(formula.scale, torch.tensor([0.005, 0.01]))
    input_scale.mul_(2)
    formula()
    assert torch.allclose(formula.scale, torch.tensor([0.01, 0.02]))


def test_a_bias_takes_four_bytes_a_channel():
    assert sum(s.total_bits for s in fitted([1.0, 2.0], [1.0, 1.0]).stored()) == 64

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from core.formulas import Emitter
from core.quantizers.activation import ActivationQuantizer
from core.quantizers.observers import MinMax, Range
from modelpress.problem import ModelError


def quantizer(low: float, high: float, signed: bool = False) -> ActivationQuantizer:
    made = ActivationQuantizer(signed)
    made.set_range(Range(low, high))
    return made


def in_onnxruntime(made: ActivationQuantizer, x: np.ndarray) -> np.ndarray:
    out = Emitter(taken=["x"])
    y = made.emit(out, "x", "y")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in ("x", y)]
    graph = helper.make_graph(out.nodes, "g", ports[:1], ports[1:], out.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("low, high", [(0.0, 6.0), (-1.0, 3.0), (-3.0, 0.0), (2.0, 5.0), (0.0, 0.0), (0.0, 1e-42)])
def test_torch_and_onnxruntime_round_alike(low, high, signed):
    made = quantizer(low, high, signed)
    x = torch.linspace(-8, 8, 4001)
    with torch.no_grad():
        assert np.array_equal(made(x).numpy(), in_onnxruntime(made, x.numpy()))


@pytest.mark.parametrize("low, high", [(0.0, 6.0), (-1.0, 3.0), (-3.0, 0.0), (2.0, 5.0)])
def test_values_inside_the_range_move_by_half_a_step_at_most(low, high):
    made = quantizer(low, high)
    x = torch.linspace(low, high, 1001)
    step = (max(high, 0.0) - min(low, 0.0)) / 255
    assert (made(x) - x).abs().max() <= step * (1 + 1e-5)  # half for rounding, half for a zero point that is whole


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("low, high", [(0.1, 6.0), (-1.1, 3.7), (-3.0, -1.0)])
def test_zero_stays_zero(low, high, signed):
    assert quantizer(low, high, signed)(torch.zeros(1)) == 0.0


def test_values_outside_the_range_end_at_its_ends():
    made = quantizer(0.0, 2.55)
    assert torch.allclose(made(torch.tensor([-1.0, 9.0])), torch.tensor([0.0, 2.55]))


def test_an_activation_after_relu_has_its_zero_point_at_the_least_integer():
    assert quantizer(0.0, 4.0).zero_point == 0
    assert quantizer(0.0, 4.0, signed=True).zero_point == -128


def test_it_observes_and_changes_nothing_until_it_settles():
    made = ActivationQuantizer()
    made.observer, made.is_on = MinMax(), False
    x = torch.tensor([0.0, 0.3, 2.55])
    assert torch.equal(made(x), x)
    assert made.settle()
    assert made.scale.detach() == pytest.approx(0.01)
    assert torch.allclose(made(torch.tensor([0.304])), torch.tensor([0.30]))


def test_settling_without_data_says_so():
    made = ActivationQuantizer()
    made.observer = MinMax()
    assert not made.settle()


def test_gradients_pass_inside_the_range_only_and_reach_the_scale():
    made = quantizer(0.0, 2.55)
    x = torch.tensor([-1.0, 1.004, 9.0], requires_grad=True)
    made(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
    assert float(made.scale.grad) == pytest.approx(255 + (100 - 100.4), abs=1e-3)


def test_a_description_and_tensors_bring_it_back():
    made = quantizer(-1.0, 3.0, signed=True)
    back = ActivationQuantizer.from_config(made.config())
    back.load_state_dict(made.state_dict())
    back.check()
    x = torch.linspace(-2, 4, 100)
    assert torch.equal(back(x), made(x))


@pytest.mark.parametrize("scale, zero_point", [(0.0, 0), (float("nan"), 0), (1.0, 300), (-1.0, 0)])
def test_numbers_that_are_no_range_are_refused(scale, zero_point):
    made = ActivationQuantizer()
    made.load_state_dict({"scale": torch.tensor(scale), "zero_point": torch.tensor(zero_point, dtype=torch.int32)})
    with pytest.raises(ModelError, match="quantiser"):
        made.check()

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper, parser
from torch import fx

from core.context import Context
from core.formulas import AffineInt8, formula_of
from core.network import Network
from core.quantizers import ActivationQuantizer
from core.techniques.pruning.magnitude import prune_by_magnitude
from core.techniques.sharing.int8 import quantize_to_int8
from modelpress import steps
from modelpress.problem import StepError
from tests.core.network.models import run_onnx
from tests.core.techniques.contexts import context_for, samples_of
from tests.core.techniques.digits import TRAINED, digits, trained_model


def quantized(model: ModelProto, folder: Path, images: np.ndarray | None = None, **options) -> Network:
    """The network after quantize.int8, calibrated on the digits or on the given inputs."""
    network = Network.from_proto(model)
    step = steps.Int8Quantization(**options)
    quantize_to_int8(network, step, context(network, folder, images))
    return network


def context(network: Network, folder: Path, images: np.ndarray | None = None) -> Context:
    (name,) = network.input_names
    return context_for(
        network.copy(), folder, samples_of({name: digits().images[:TRAINED] if images is None else images})
    )


def small(text: str, folder: Path, shape: tuple[int, ...], **weights: tuple[int, ...]) -> tuple[Network, np.ndarray]:
    """A network from ONNX's text form and shapes of seeded weights, quantised, with the inputs it was calibrated on."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    random = np.random.default_rng(0)
    for name, size in weights.items():
        array = (0.3 * random.standard_normal(size)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    x = random.standard_normal((64, *shape)).astype(np.float32)
    return quantized(model, folder, x, calibration="minmax"), x


def kernels(model: ModelProto, folder: Path) -> list[str]:
    """Operators that onnxruntime runs after it has loaded and optimised the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy"])
def test_accuracy_on_digits_stays(calibration, tmp_path):
    model = quantized(trained_model(), tmp_path, calibration=calibration).to_proto()
    onnx.checker.check_model(model)
    assert digits().accuracy(trained_model()) > 0.95
    assert digits().accuracy(model) >= digits().accuracy(trained_model()) - 0.01


def test_every_layer_of_the_digits_network_runs_on_an_integer_kernel(tmp_path):
    found = kernels(quantized(trained_model(), tmp_path).to_proto(), tmp_path)
    assert found.count("QLinearConv") == 3
    assert found.count("QGemm") == 1
    assert found.count("QLinearAdd") == 1
    assert not {"Conv", "FusedConv", "Gemm", "Add", "Relu", "MaxPool", "DequantizeLinear"} & set(found)


def test_what_is_quantised_is_not_quantised_again(tmp_path):
    network = quantized(trained_model(), tmp_path)
    with pytest.raises(StepError, match="already quantised"):
        quantize_to_int8(network, steps.Int8Quantization(), context(network, tmp_path))


def test_the_file_shrinks_towards_a_quarter(tmp_path):
    model = quantized(trained_model(), tmp_path).to_proto()
    weights = [t for t in model.graph.initializer if t.name.endswith(".weight.integers")]
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}
    assert len(weights) == 4


CONV, IMAGE = "(float[N,3,8,8] x) => (float[N,4,h,w] y)", (3, 8, 8)
FORMS = {
    "relu6": (
        f"{CONV} {{ zero = Constant<value_float=0.0>() six = Constant<value_float=6.0>() a = Conv(x, w1, b1)"
        " b = Clip(a, zero, six) y = Conv(b, w2) }",
        IMAGE,
        {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (4, 8, 1, 1)},
        {"QLinearConv": 2},
    ),
    "concat": (
        f"{CONV} {{ a = Conv(x, w1, b1) b = Relu(a) c = Conv(x, w2, b2) d = Concat<axis=1>(b, c) y = Conv(d, w3) }}",
        IMAGE,
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (8, 3, 1, 1), "b2": (8,), "w3": (4, 16, 1, 1)},
        {"QLinearConv": 3, "QLinearConcat": 1},
    ),
    "concat behind pools": (
        f"{CONV} {{ a = Conv(x, w1, b1) b = Relu(a) c = Conv(x, w2, b2) p = MaxPool<kernel_shape=[2,2]>(b)"
        " q = MaxPool<kernel_shape=[2,2]>(c) d = Concat<axis=1>(p, q) y = Conv(d, w3) }",
        IMAGE,
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (8, 3, 1, 1), "b2": (8,), "w3": (4, 16, 1, 1)},
        {"QLinearConv": 3, "QLinearConcat": 1},
    ),
    "relu beside relu6": (
        f"{CONV} {{ zero = Constant<value_float=0.0>() one = Constant<value_float=1.0>() a = Conv(x, w1, b1)"
        " b = Relu(a) c = Conv(x, w2, b2) e = Clip(c, zero, one) d = Concat<axis=1>(b, e) y = Conv(d, w3) }",
        IMAGE,
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (8, 3, 1, 1), "b2": (8,), "w3": (4, 16, 1, 1)},
        {"QLinearConv": 3, "QLinearConcat": 1},
    ),
    "split": (
        f"{CONV} {{ a = Conv(x, w1) r = Relu(a) p, q = Split<axis=1>(r) c = Conv(p, w2) d = Conv(q, w3)"
        " y = Add(c, d) }",
        IMAGE,
        {"w1": (8, 3, 1, 1), "w2": (4, 4, 1, 1), "w3": (4, 4, 1, 1)},
        {"QLinearConv": 3, "QuantizeLinear": 1},
    ),
    "pools": (
        f"{CONV} {{ a = Conv(x, w1) b = Relu(a) c = MaxPool<kernel_shape=[2,2], strides=[2,2]>(b)"
        " d = AveragePool<kernel_shape=[2,2], strides=[2,2]>(c) y = Conv(d, w2) }",
        IMAGE,
        {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)},
        {"QLinearConv": 2, "QLinearAveragePool": 1},
    ),
    "silu": (
        f"{CONV} {{ a = Conv(x, w1) s = Sigmoid(a) m = Mul(a, s) y = Conv(m, w2) }}",
        IMAGE,
        {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)},
        {"QLinearConv": 2, "QLinearSigmoid": 1, "QLinearMul": 1},
    ),
    "conv1d": (
        "(float[N,3,20] x) => (float[N,4,18] y) { a = Conv(x, w1, b1) r = Relu(a) y = Conv(r, w2) }",
        (3, 20),
        {"w1": (8, 3, 3), "b1": (8,), "w2": (4, 8, 1)},
        {"QLinearConv": 2},
    ),
    "products and sums": (
        "(float[N,16] x) => (float[N,4] y)"
        " { a = MatMul(x, w1) b = Add(a, b1) c = Relu(b) d = MatMul(c, w2) y = Add(b2, d) }",
        (16,),
        {"w1": (16, 32), "b1": (32,), "w2": (32, 4), "b2": (4,)},
        {"QGemm": 2},
    ),
    "products of three axes": (
        "(float[N,5,16] x) => (float[N,5,4] y) { a = MatMul(x, w1) c = Relu(a) y = MatMul(c, w2) }",
        (5, 16),
        {"w1": (16, 32), "w2": (32, 4)},
        {"QLinearMatMul": 1, "MatMulIntegerToFloat": 1},
    ),
}


@pytest.mark.parametrize("text, shape, weights, expected", FORMS.values(), ids=FORMS.keys())
def test_integer_kernels_are_found_for(text, shape, weights, expected, tmp_path):
    network, _ = small(text, tmp_path, shape, **weights)
    found = kernels(network.to_proto(), tmp_path)
    assert {kernel: found.count(kernel) for kernel in expected} == expected
    assert not {"Conv", "FusedConv", "Gemm", "MatMul", "Concat", "AveragePool", "Sigmoid"} & set(found)


@pytest.mark.parametrize("text, shape, weights", [form[:3] for form in FORMS.values()], ids=FORMS.keys())
def test_torch_and_onnxruntime_agree_on(text, shape, weights, tmp_path):
    network, x = small(text, tmp_path, shape, **weights)
    assert_within_a_quantum(network, x)


def test_torch_and_onnxruntime_agree_at_every_quantiser_of_the_digits_network(tmp_path):
    assert_within_a_quantum(quantized(trained_model(), tmp_path), digits().images[TRAINED:])


def assert_within_a_quantum(network: Network, x: np.ndarray) -> None:
    """Unoptimised onnxruntime rounds each value to the integer that torch rounds it to, or a neighbour of it."""
    model = network.to_proto()
    integers = {name for node in model.graph.node if node.op_type == "QuantizeLinear" for name in node.output}
    rounded = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in integers]
    for node in rounded:
        model.graph.output.append(helper.make_empty_tensor_value_info(node.output[0]))
    found = run_onnx(model, {network.input_names[0]: x}, optimised=False)[-len(rounded) :]
    seen = values_at_quantizers(network, torch.from_numpy(x), [torch.from_numpy(value) for value in found])
    assert len(seen) == len(found) > 1
    for (scale, expected), value in zip(seen, found, strict=True):
        assert np.abs(expected - value).max() <= 1.001 * scale


def values_at_quantizers(
    network: Network, x: torch.Tensor, found: list[torch.Tensor]
) -> list[tuple[float, np.ndarray]]:
    """Scale and rounded value of each quantiser's edge, in graph order, from what was found at those before."""
    seen: list[tuple[float, np.ndarray]] = []

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node):
            result = super().run_node(n)
            module = self.module.get_submodule(n.target) if n.op == "call_module" else None
            if isinstance(module, ActivationQuantizer):
                seen.append((module.scale.item(), result.numpy()))
                return found[len(seen) - 1]
            return result

    with torch.no_grad():
        Watch(network.graph).run(x)
    return seen


def test_a_pool_and_the_values_before_it_share_a_quantiser(tmp_path):
    network = quantized(trained_model(), tmp_path)
    behind = {n.all_input_nodes[0].meta["value"]: n.target for n in network.graph.graph.nodes if n.meta.get("edge")}
    assert behind["pooled"] == behind["r2"] != behind["r1"]
    assert behind["flat"] == behind["r3"]


@pytest.mark.parametrize("asked, most", [("yes", 63), ("no", 127)])
def test_weights_keep_to_seven_bits_where_asked(asked, most, tmp_path):
    network = quantized(trained_model(), tmp_path, reduce_range=asked)
    widest = [int(layer.formula.integers().abs().max()) for layer in network.layers(having="weight")]
    assert widest == [most] * 4


def test_what_the_processor_needs_is_a_recorded_decision(tmp_path):
    network = Network.from_proto(trained_model())
    ctx = context(network, tmp_path)
    quantize_to_int8(network, steps.Int8Quantization(), ctx)
    assert [decision.key for decision in ctx.decisions.all()] == ["0/reduce_range"]


def test_bias_correction_brings_the_mean_of_the_outputs_back(tmp_path):
    x = torch.from_numpy(digits().images[:TRAINED])
    wanted = Network.from_proto(trained_model())({"image": x})["logits"].mean(0)
    off = [
        (
            quantized(trained_model(), tmp_path, correct_bias=on, percentile=98.0)({"image": x})["logits"].mean(0)
            - wanted
        )
        for on in (True, False)
    ]
    assert off[0].abs().max() < 0.5 * off[1].abs().max()


def test_layers_that_are_skipped_stay_in_floats(tmp_path):
    network = quantized(trained_model(), tmp_path, layers={"skip": ["conv1"]})
    formulas = {layer.name: layer.formula for layer in network.layers(having="weight")}
    assert formulas.pop("conv1") is None
    assert all(isinstance(formula, AffineInt8) for formula in formulas.values())
    assert kernels(network.to_proto(), tmp_path).count("QLinearConv") == 2


def test_zeros_of_pruning_stay_zeros_while_the_network_learns_on(tmp_path):
    network = Network.from_proto(trained_model())
    ctx = context(network, tmp_path)
    prune_by_magnitude(network, steps.MagnitudePruning(sparsity=0.6), ctx)
    quantize_to_int8(network, steps.Int8Quantization(), ctx)
    optimiser = torch.optim.SGD(network.graph.parameters(), lr=0.1)
    network({"image": torch.from_numpy(digits().images[:64])})["logits"].square().mean().backward()
    optimiser.step()
    model = network.to_proto()
    stored = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith("weight.integers")]
    assert all((array == 0).mean() >= 0.59 for array in stored)
    assert len(stored) == 4


def test_a_saved_network_comes_back_with_the_same_file(tmp_path):
    network = quantized(trained_model(), tmp_path)
    network.save(tmp_path / "saved")
    back = Network.load(tmp_path / "saved")
    x = {"image": torch.from_numpy(digits().images[:50])}
    assert torch.equal(back(x)["logits"], network(x)["logits"])
    y = {"image": digits().images[:50]}
    assert np.array_equal(run_onnx(back.to_proto(), y)[0], run_onnx(network.to_proto(), y)[0])


def test_the_step_of_a_bias_is_that_of_its_layers_products_after_loading_and_learning_too(tmp_path):
    quantized(trained_model(), tmp_path).save(tmp_path / "saved")
    network = Network.load(tmp_path / "saved")
    with torch.no_grad():
        for number, module in enumerate(network.graph.modules()):
            if isinstance(module, ActivationQuantizer | AffineInt8):
                module.scale.mul_(1 + 0.01 * number)
    network.to_proto()
    for layer in network.layers(having="weight"):
        source = network.graph.get_submodule(layer.node.args[0].target)
        expected = source.scale.detach() * layer.formula.scale.detach()
        assert torch.equal(formula_of(layer.module, "bias").scale, expected)
    assert_within_a_quantum(network, digits().images[TRAINED:])


def test_layers_that_share_a_weight_share_its_integers(tmp_path):
    network, x = small(
        "(float[N,8] x) => (float[N,8] y) { h = MatMul(x, w) y = MatMul(h, w) }", tmp_path, (8,), w=(8, 8)
    )
    first, second = network.layers(having="weight")
    assert first.formula is second.formula
    assert isinstance(first.formula.weight, torch.nn.Parameter)
    assert_within_a_quantum(network, x)


def test_a_quantised_network_still_takes_batches_and_learns(tmp_path):
    network = quantized(trained_model(), tmp_path)
    graph = network.train_graph()
    graph(torch.from_numpy(digits().images[:8]))[0].sum().backward()
    learned = {name for name, parameter in graph.named_parameters() if parameter.grad is not None}
    assert learned == {name for name, _ in graph.named_parameters()}


def test_a_channel_of_almost_no_weights_does_not_overflow_its_bias(tmp_path):
    model = ModelProto()
    model.CopyFrom(trained_model())
    tensor = next(t for t in model.graph.initializer if t.name == "linear.weight")
    weight = numpy_helper.to_array(tensor).copy()
    weight[3] = 1e-13
    tensor.CopyFrom(numpy_helper.from_array(weight, "linear.weight"))
    bias = next(t for t in model.graph.initializer if t.name == "linear.bias")
    bias.CopyFrom(numpy_helper.from_array(np.arange(10, dtype=np.float32), "linear.bias"))
    made = quantized(model, tmp_path).to_proto()
    (logits,) = run_onnx(made, {"image": digits().images[:20]})
    assert np.allclose(logits[:, 3], 3.0, atol=0.01)


def test_a_model_that_takes_one_sample_is_calibrated_too(tmp_path):
    text = "(float[1,3,8,8] x) => (float[1,4] y) { a = Conv(x, w1, b1) p = GlobalAveragePool(a) y = Reshape(p, s) }"
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    for name, array in {"w1": np.ones((4, 3, 3, 3)), "b1": np.ones(4)}.items():
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4]), "s"))
    x = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    made = quantized(model, tmp_path, x).to_proto()
    expected, found = run_onnx(model, {"x": x[:1]})[0], run_onnx(made, {"x": x[:1]})[0]
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_without_calibration_data_it_says_what_is_missing(tmp_path):
    with pytest.raises(StepError, match="calibration data"):
        quantized(trained_model(), tmp_path, digits().images[:0])


def test_a_network_stored_in_sixteen_bits_is_refused_with_the_remedy(tmp_path):
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float16[N,8] x) => (float16[N,8] y) { y = MatMul(x, w) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.eye(8, dtype=np.float16), "w"))
    with pytest.raises(StepError, match="float32"):
        quantized(model, tmp_path, np.zeros((4, 8), np.float16))


def test_a_choice_that_leaves_no_layer_is_an_error(tmp_path):
    with pytest.raises(StepError, match="no layer to work on"):
        quantized(trained_model(), tmp_path, layers={"types": ["ConvTranspose"]})

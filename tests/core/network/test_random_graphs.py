"""Random small graphs of native operators: torch, the file as it came, and the file we write, all agree."""

from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, helper

from core.network import Network
from tests.core.network.models import model_of, run_onnx

CHANNELS, SIZE = 4, 8
ACTIVATIONS = ["Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Elu", "Identity"]


@dataclass
class Value:
    name: str
    channels: int
    size: int


@dataclass
class Sketch:
    """A graph in the making; every value is an image of (batch, channels, size, size)."""

    draw: st.DrawFn
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    values: list[Value] = field(default_factory=lambda: [Value("x", CHANNELS, SIZE)])

    def constant(self, name: str, *shape: int, low: float = -1.0) -> str:
        generator = np.random.default_rng(len(self.constants))
        width = 1.0 if len(shape) < 2 else 1.5 / np.sqrt(np.prod(shape[1:]))
        self.constants[name] = (generator.uniform(low, 1.0, shape) * width).astype(np.float32)
        return name

    def add(self, op: str, inputs: list[str], channels: int, size: int, **attributes: object) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", **attributes))
        self.values.append(Value(name, channels, size))

    def conv(self, x: Value) -> None:
        kernel = self.draw(st.sampled_from([1, 3]))
        groups = self.draw(st.sampled_from([g for g in (1, 2, 4) if x.channels % g == 0]))
        out = groups * self.draw(st.integers(1, 3))
        stride = self.draw(st.sampled_from([1, 2])) if x.size >= 4 else 1
        label = f"layer{len(self.nodes)}"
        weights = [self.constant(f"{label}.weight", out, x.channels // groups, kernel, kernel)]
        if self.draw(st.booleans()):
            weights.append(self.constant(f"{label}.bias", out))
        padding = self.draw(st.sampled_from(["even", "uneven", "same"]))
        attributes: dict[str, object] = {"pads": [kernel // 2] * 4}
        if padding == "same":
            attributes = {"auto_pad": "SAME_UPPER"}
        elif padding == "uneven":
            attributes = {"pads": [0, kernel - 1, kernel - 1, 0]}
        size = -(-x.size // stride)
        self.add("Conv", [x.name, *weights], out, size, group=groups, strides=[stride] * 2, **attributes)

    def batch_norm(self, x: Value) -> None:
        label = f"norm{len(self.nodes)}"
        tensors = [self.constant(f"{label}.{k}", x.channels) for k in ("weight", "bias", "mean")]
        tensors.append(self.constant(f"{label}.var", x.channels, low=0.5))
        self.add("BatchNormalization", [x.name, *tensors], x.channels, x.size)

    def activation(self, x: Value) -> None:
        self.add(self.draw(st.sampled_from(ACTIVATIONS)), [x.name], x.channels, x.size)

    def pool(self, x: Value) -> None:
        op = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        if x.size < 2:
            return self.activation(x)
        ceil = self.draw(st.sampled_from([0, 1])) if op == "MaxPool" else 0
        size = -(-x.size // 2) if ceil else x.size // 2
        return self.add(op, [x.name], x.channels, size, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=ceil)

    def scale(self, x: Value) -> None:
        op = self.draw(st.sampled_from(["Mul", "Add", "Sub", "Max"]))
        constant = self.constant(f"constant{len(self.nodes)}", x.channels, 1, 1)
        inputs = [x.name, constant] if self.draw(st.booleans()) else [constant, x.name]
        self.add(op, inputs, x.channels, x.size)

    def join(self, x: Value) -> None:
        """Addition where shapes allow, else concatenation."""
        others = [v for v in self.values if v.size == x.size]
        other = self.draw(st.sampled_from(others))
        if other.channels == x.channels and self.draw(st.booleans()):
            self.add(self.draw(st.sampled_from(["Add", "Mul", "Sum"])), [x.name, other.name], x.channels, x.size)
        else:
            self.add("Concat", [x.name, other.name], x.channels + other.channels, x.size, axis=1)

    def shuffle(self, x: Value) -> None:
        """Channels shuffled by reshape, transpose, reshape."""
        if x.channels % 2:
            return self.activation(x)
        wide, back = f"wide{len(self.nodes)}", f"back{len(self.nodes)}"
        self.constants[wide] = np.array([0, 2, x.channels // 2, x.size, x.size], np.int64)
        self.constants[back] = np.array([0, x.channels, x.size, x.size], np.int64)
        names = [f"{wide}_reshaped", f"{wide}_swapped"]
        self.nodes.append(helper.make_node("Reshape", [x.name, wide], [names[0]]))
        self.nodes.append(helper.make_node("Transpose", [names[0]], [names[1]], perm=[0, 2, 1, 3, 4]))
        return self.add("Reshape", [names[1], back], x.channels, x.size)

    def finish(self) -> ModelProto:
        """A linear layer on the means of the last value and of the input, so that the output depends on the input."""
        last = self.values[-1]
        self.constant("fc.weight", 3, last.channels + CHANNELS)
        self.constant("fc.bias", 3)
        self.nodes += [
            helper.make_node("GlobalAveragePool", [last.name], ["mean"]),
            helper.make_node("GlobalMaxPool", ["x"], ["input_max"]),
            helper.make_node("Concat", ["mean", "input_max"], ["means"], axis=1),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["y"], transB=1),
        ]
        return model_of(self.nodes, {"x": ["batch", CHANNELS, SIZE, SIZE]}, constants=self.constants)


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    sketch = Sketch(draw)
    steps = [sketch.conv, sketch.batch_norm, sketch.activation, sketch.pool, sketch.scale, sketch.join, sketch.shuffle]
    for choice in draw(st.lists(st.sampled_from(range(len(steps))), min_size=1, max_size=8)):
        recent = sketch.values[-2:] if draw(st.booleans()) else sketch.values[-1:]
        steps[choice](draw(st.sampled_from(recent)))
    return sketch.finish()


def in_torch(network: Network, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network({"x": torch.from_numpy(x)})["y"].numpy()


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(model=models(), seed=st.integers(0, 1000), batch=st.integers(1, 3))
def test_import_and_export_keep_the_network(model: ModelProto, seed: int, batch: int):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((batch, CHANNELS, SIZE, SIZE)).astype(np.float32)
    (expected,) = run_onnx(model, {"x": x})
    (other,) = run_onnx(model, {"x": x + generator.standard_normal(x.shape).astype(np.float32)})
    assert np.abs(other - expected).max() > 1e-4  # the output varies with the input

    network = Network.from_proto(model)
    assert_close(in_torch(network, x), expected)
    assert network.to_proto() is model
    _check_changed(network, generator, x)


def _check_changed(network: Network, generator: np.random.Generator, x: np.ndarray) -> None:
    """Some parameters moved: what is written computes what torch does, and reads back as the same network."""
    names = [layer.name for layer in network.layers()]
    with torch.no_grad():
        for parameter in network.graph.parameters():
            if generator.random() < 0.5:
                parameter.mul_(1.25)
        network.layer("fc").weight.add_(0.1)
    written = network.to_proto()
    onnx.checker.check_model(written)
    expected = in_torch(network, x)
    assert_close(run_onnx(written, {"x": x})[0], expected)
    again = Network.from_proto(written)
    assert [layer.name for layer in again.layers()] == names
    assert np.array_equal(in_torch(again, x), expected)

"""A network written node by node as ONNX, with weights drawn as He et al. do."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


class Builder:
    """Appends one operator a call and returns the name of its value; weights are named as torch names them.

    Shapes of one sample are tracked, so that a layer knows its fan-in and a network that shrinks its image
    to nothing is refused where it happens.
    """

    def __init__(self, input_name: str, sample_shape: Sequence[int], seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {input_name: tuple(sample_shape)}
        self._random = np.random.default_rng(seed)

    def conv(
        self, x: str, name: str, out: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> str:
        channels, *image = self.shapes[x]
        inputs = [x, self._drawn(f"{name}.weight", (out, channels, kernel, kernel))]
        if bias:
            inputs.append(self._filled(f"{name}.bias", out, 0.0))
        size = tuple(reduced(side, kernel, stride, padding) for side in image)
        return self._node(
            "Conv", inputs, name, (out, *size), kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4
        )

    def linear(self, x: str, name: str, out: int) -> str:
        inputs = [x, self._drawn(f"{name}.weight", (out, self.shapes[x][0])), self._filled(f"{name}.bias", out, 0.0)]
        return self._node("Gemm", inputs, name, (out,), transB=1)

    def norm(self, x: str, name: str) -> str:
        channels = self.shapes[x][0]
        start = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        inputs = [x, *(self._filled(f"{name}.{part}", channels, value) for part, value in start.items())]
        return self._node("BatchNormalization", inputs, name, self.shapes[x], epsilon=1e-5)

    def relu(self, x: str, name: str) -> str:
        return self._node("Relu", [x], name, self.shapes[x])

    def softmax(self, x: str, name: str) -> str:
        return self._node("Softmax", [x], name, self.shapes[x], axis=-1)

    def add(self, a: str, b: str, name: str) -> str:
        return self._node("Add", [a, b], name, self.shapes[a])

    def max_pool(self, x: str, name: str) -> str:
        """2 x 2, stride 2; an odd last row and column are kept, as Caffe does."""
        channels, *image = self.shapes[x]
        size = tuple(math.ceil(side / 2) for side in image)
        return self._node("MaxPool", [x], name, (channels, *size), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)

    def average(self, x: str, name: str) -> str:
        """Global average pooling and flattening: (channels,)."""
        channels = self.shapes[x][0]
        pooled = self._node("GlobalAveragePool", [x], f"{name}.pool", (channels, 1, 1))
        return self.flatten(pooled, name)

    def flatten(self, x: str, name: str) -> str:
        return self._node("Flatten", [x], name, (math.prod(self.shapes[x]),), axis=1)

    def subsample_and_pad(self, x: str, name: str, out: int) -> str:
        """He et al.'s shortcut A: every second row and column, zeros for the new channels on both sides."""
        channels, *image = self.shapes[x]
        size = tuple(math.ceil(side / 2) for side in image)
        constants = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [2, 2]}
        inputs = [x, *(self._integers(f"{name}.{key}", value) for key, value in constants.items())]
        sliced = self._node("Slice", inputs, f"{name}.slice", (channels, *size))
        front = (out - channels) // 2
        pads = self._integers(f"{name}.pads", [0, front, 0, 0, 0, out - channels - front, 0, 0])
        return self._node("Pad", [sliced, pads], name, (out, *size))

    def model(self, last: str, inputs: onnx.ValueInfoProto, outputs: onnx.ValueInfoProto, name: str) -> onnx.ModelProto:
        """The network between the given input and output; `last` takes the output's name.

        The value infos say names, types and batch axis; they come from the network that the student replaces.
        """
        for node in self.nodes:
            node.output[:] = [outputs.name if value == last else value for value in node.output]
            node.input[:] = [outputs.name if value == last else value for value in node.input]
        initializers = [numpy_helper.from_array(array, key) for key, array in self.weights.items()]
        graph = helper.make_graph(self.nodes, name, [inputs], [outputs], initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _node(self, op: str, inputs: list[str], name: str, shape: tuple[int, ...], **attributes: Any) -> str:
        value = f"{name}.out"
        self.nodes.append(helper.make_node(op, inputs, [value], name=name, **attributes))
        self.shapes[value] = shape
        return value

    def _drawn(self, name: str, shape: tuple[int, ...]) -> str:
        """He et al. 2015, arXiv:1502.01852, equation 10: variance 2 / fan-in."""
        deviation = math.sqrt(2.0 / math.prod(shape[1:]))
        self.weights[name] = self._random.normal(0.0, deviation, shape).astype(np.float32)
        return name

    def _filled(self, name: str, size: int, value: float) -> str:
        self.weights[name] = np.full(size, value, np.float32)
        return name

    def _integers(self, name: str, values: list[int]) -> str:
        self.weights[name] = np.asarray(values, np.int64)
        return name


def reduced(side: int, kernel: int, stride: int, padding: int) -> int:
    """Side of an image after a convolution; raises ValueError where nothing is left of it."""
    left = (side + 2 * padding - kernel) // stride + 1
    if left < 1:
        raise ValueError(f"an image side of {side} is too small for a {kernel} x {kernel} filter")
    return left


def value_info(name: str, sample_shape: Sequence[int], batch: int | str = "batch") -> onnx.ValueInfoProto:
    """A float32 input or output with the batch axis in front."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *sample_shape])

"""A network written node by node as ONNX."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from core.zoo.weights import Weights

OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True)
class Node:
    """An operator as it will be written: making protos of it is most of the time that a network takes."""

    op: str
    inputs: list[str]
    output: str
    name: str
    attributes: dict[str, Any]

    def proto(self, renamed: Mapping[str, str]) -> onnx.NodeProto:
        inputs = [renamed.get(value, value) for value in self.inputs]
        output = renamed.get(self.output, self.output)
        return helper.make_node(self.op, inputs, [output], name=self.name, **self.attributes)


class Builder:
    """Appends one operator a call and returns the name of its value; weights are named as torch names them.

    Shapes of one sample are tracked, so that a layer knows its inputs and a network that shrinks its image to
    nothing is refused where it happens, by a ValueError.
    """

    def __init__(self, input_name: str, sample_shape: Sequence[int], weights: Weights) -> None:
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {input_name: tuple(sample_shape)}
        self._source = weights

    # layers

    def conv(
        self,
        x: str,
        name: str,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        channels, *image = self.shapes[x]
        if channels % groups:
            raise ValueError(f"{channels} channels can't be cut into {groups} groups")
        inputs = [x, self._weight(f"{name}.weight", (out, channels // groups, kernel, kernel))]
        if bias:
            inputs.append(self._weight(f"{name}.bias", (out,), 0.0))
        size = (reduced(side, kernel, stride, padding, "filter") for side in image)
        attributes = {"group": groups} if groups > 1 else {}
        return self._node("Conv", inputs, name, (out, *size), **window(kernel, stride, padding), **attributes)

    def linear(self, x: str, name: str, out: int) -> str:
        weight = self._weight(f"{name}.weight", (out, self.shapes[x][0]))
        return self._node("Gemm", [x, weight, self._weight(f"{name}.bias", (out,), 0.0)], name, (out,), transB=1)

    def norm(self, x: str, name: str, epsilon: float = 1e-5) -> str:
        size = self.shapes[x][:1]
        start = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        inputs = [x, *(self._weight(f"{name}.{part}", size, value) for part, value in start.items())]
        return self._node("BatchNormalization", inputs, name, self.shapes[x], epsilon=epsilon)

    # element by element

    def relu(self, x: str, name: str) -> str:
        return self._node("Relu", [x], name, self.shapes[x])

    def relu6(self, x: str, name: str) -> str:
        low, high = (self._constant(f"relu6.{limit}", np.array(limit, np.float32)) for limit in (0, 6))
        return self._node("Clip", [x, low, high], name, self.shapes[x])

    def softmax(self, x: str, name: str) -> str:
        return self._node("Softmax", [x], name, self.shapes[x], axis=-1)

    def across_channels(self, x: str, name: str) -> str:
        """Local response normalisation over 5 channels, with the constants that Caffe takes."""
        return self._node("LRN", [x], name, self.shapes[x], size=5, alpha=1e-4, beta=0.75, bias=1.0)

    # several values

    def add(self, a: str, b: str, name: str) -> str:
        return self._node("Add", [a, b], name, self.shapes[a])

    def concat(self, values: Sequence[str], name: str) -> str:
        """Along the channels."""
        channels, image = sum(self.shapes[value][0] for value in values), self.shapes[values[0]][1:]
        return self._node("Concat", list(values), name, (channels, *image), axis=1)

    # images

    def max_pool(
        self, x: str, name: str, kernel: int = 2, stride: int = 2, *, padding: int = 0, ceil: bool = True
    ) -> str:
        """`ceil`: an odd last row and column are kept, as Caffe does."""
        return self._pool("MaxPool", x, name, kernel, stride, padding, ceil_mode=int(ceil))

    def average_pool(self, x: str, name: str, kernel: int, stride: int, *, padding: int = 0) -> str:
        """Padding counts as zeros, as in torch."""
        return self._pool("AveragePool", x, name, kernel, stride, padding, count_include_pad=1)

    def average(self, x: str, name: str) -> str:
        """Global average pooling and flattening: (channels,)."""
        pooled = self._node("GlobalAveragePool", [x], f"{name}.pool", (self.shapes[x][0], 1, 1))
        return self.flatten(pooled, name)

    def flatten(self, x: str, name: str) -> str:
        return self._node("Flatten", [x], name, (math.prod(self.shapes[x]),), axis=1)

    def subsample_and_pad(self, x: str, name: str, out: int) -> str:
        """He et al.'s shortcut A: every second row and column, zeros for the new channels on both sides."""
        channels, *image = self.shapes[x]
        size = tuple(math.ceil(side / 2) for side in image)
        constants = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [2, 2]}
        inputs = [x, *(self._constant(f"{name}.{key}", np.array(value, np.int64)) for key, value in constants.items())]
        sliced = self._node("Slice", inputs, f"{name}.slice", (channels, *size))
        front = (out - channels) // 2
        pads = self._constant(f"{name}.pads", np.array([0, front, 0, 0, 0, out - channels - front, 0, 0]))
        return self._node("Pad", [sliced, pads], name, (out, *size))

    # the whole

    def model(self, last: str, inputs: onnx.ValueInfoProto, outputs: onnx.ValueInfoProto, name: str) -> onnx.ModelProto:
        """The network between the given input and output; `last` takes the output's name.

        The value infos say names, types and batch axis; they come from the network that the student replaces.
        """
        held = {**self.weights, **self.constants}
        initializers = [numpy_helper.from_array(array, key) for key, array in held.items()]
        nodes = [node.proto({last: outputs.name}) for node in self.nodes]
        graph = helper.make_graph(nodes, name, [inputs], [outputs], initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _pool(self, op: str, x: str, name: str, kernel: int, stride: int, padding: int, **attributes: int) -> str:
        channels, *image = self.shapes[x]
        ceil = bool(attributes.get("ceil_mode"))
        size = (reduced(side, kernel, stride, padding, "window", ceil=ceil) for side in image)
        return self._node(op, [x], name, (channels, *size), **window(kernel, stride, padding), **attributes)

    def _node(self, op: str, inputs: list[str], name: str, shape: tuple[int, ...], **attributes: Any) -> str:
        value = f"{name}.out"
        self.nodes.append(Node(op, inputs, value, name, attributes))
        self.shapes[value] = shape
        return value

    def _weight(self, name: str, shape: tuple[int, ...], start: float | None = None) -> str:
        self.weights[name] = self._source(name, shape, start)
        return name

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name


def window(kernel: int, stride: int, padding: int) -> dict[str, list[int]]:
    return {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}


def reduced(side: int, kernel: int, stride: int, padding: int, what: str, *, ceil: bool = False) -> int:
    """Side of an image after a filter or window went over it; raises ValueError where nothing is left of it."""
    room = side + 2 * padding - kernel
    left = (math.ceil(room / stride) if ceil else room // stride) + 1
    if left < 1:
        raise ValueError(f"an image side of {side} is too small for a {kernel} x {kernel} {what}")
    return left


def value_info(name: str, sample_shape: Sequence[int], batch: int | str = "batch") -> onnx.ValueInfoProto:
    """A float32 input or output with the batch axis in front."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *sample_shape])

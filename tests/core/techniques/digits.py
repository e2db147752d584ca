"""A small residual network trained on scikit-learn's digits, in a second or two."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits
from torch import nn

from core.network import Network
from tests.core.network.models import run_onnx

TRAINED = 1437
"""Samples that are trained on; the other 360 are for testing."""


@dataclass(frozen=True)
class Digits:
    """Images (n, 1, 8, 8) float32 from 0 to 1, and labels."""

    images: np.ndarray
    labels: np.ndarray

    def accuracy(self, model: onnx.ModelProto) -> float:
        """Share of the test samples that onnxruntime gets right."""
        (logits,) = run_onnx(model, {"image": self.images[TRAINED:]})
        return float((logits.argmax(1) == self.labels[TRAINED:]).mean())


@cache
def digits() -> Digits:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return Digits((data.images[order] / 16).astype(np.float32)[:, None], data.target[order])


@cache
def trained_model() -> onnx.ModelProto:
    """Convolution, residual block, pool, depthwise convolution, average, linear; with batch normalisation."""
    network = Network.from_proto(_untrained())
    graph = network.train_graph()
    for module in graph.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    optimiser = torch.optim.Adam(graph.parameters(), lr=5e-3)
    images, labels = (torch.from_numpy(array[:TRAINED]) for array in (digits().images, digits().labels))
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        for rows in torch.randperm(TRAINED, generator=generator).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(graph(images[rows])[0], labels[rows]).backward()
            optimiser.step()
    graph.eval()
    return network.to_proto()


def _untrained() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}

    def weight(name: str, *shape: int) -> str:
        weights[name] = (random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        return name

    def norm(layer: str, channels: int, x: str, y: str) -> onnx.NodeProto:
        parts = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        for part, value in parts.items():
            weights[f"{layer}.{part}"] = np.full(channels, value, np.float32)
        return helper.make_node("BatchNormalization", [x, *(f"{layer}.{part}" for part in parts)], [y])

    def conv(layer: str, x: str, y: str, shape: tuple[int, ...], group: int = 1) -> onnx.NodeProto:
        inputs = [x, weight(f"{layer}.weight", *shape)]
        return helper.make_node("Conv", inputs, [y], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=group)

    weights["linear.bias"] = np.zeros(10, np.float32)
    nodes = [
        conv("conv1", "image", "c1", (16, 1, 3, 3)),
        norm("bn1", 16, "c1", "n1"),
        helper.make_node("Relu", ["n1"], ["r1"]),
        conv("conv2", "r1", "c2", (16, 16, 3, 3)),
        norm("bn2", 16, "c2", "n2"),
        helper.make_node("Add", ["n2", "r1"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("depthwise", "pooled", "c3", (16, 1, 3, 3), group=16),
        norm("bn3", 16, "c3", "n3"),
        helper.make_node("Relu", ["n3"], ["r3"]),
        helper.make_node("Flatten", ["r3"], ["flat"]),
        helper.make_node("Gemm", ["flat", weight("linear.weight", 10, 256), "linear.bias"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 10])
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "digits", [image], [logits], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

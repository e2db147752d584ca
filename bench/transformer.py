"""An encoder of the size of BERT-large as exporters write it, with random weights: a file of 1.3 GB."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

DEVIATION = 0.02  # of every weight, as in BERT


class Encoder:
    """Collects the nodes of a post-norm encoder (Devlin et al. 2018, arXiv:1810.04805). 24 layers are 334 M numbers."""

    def __init__(self, layers: int = 24, width: int = 1024, heads: int = 16, words: int = 30_522, length: int = 512):
        self.width, self.heads, self.length = width, heads, length
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.rng = np.random.default_rng(0)
        x = self._embedding(words)
        for number in range(layers):
            x = self._layer(x, f"encoder.{number}")
        self.nodes[-1].output[0] = "hidden"

    def model(self) -> ModelProto:
        """Takes `tokens` (batch, time), gives `hidden` (batch, time, width)."""
        tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", self.length])
        hidden = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["batch", self.length, self.width])
        graph = helper.make_graph(self.nodes, "encoder", [tokens], [hidden], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _embedding(self, words: int) -> str:
        x = self._node("Gather", [self._weight("words.weight", words, self.width), "tokens"])
        x = self._node("Add", [x, self._weight("places.weight", self.length, self.width)])
        return self._norm(x, "embedding.norm")

    def _layer(self, x: str, name: str) -> str:
        x = self._norm(self._node("Add", [x, self._attention(x, f"{name}.attention")]), f"{name}.norm1")
        hidden = self._gelu(self._dense(x, f"{name}.up", self.width, 4 * self.width))
        down = self._dense(hidden, f"{name}.down", 4 * self.width, self.width)
        return self._norm(self._node("Add", [x, down]), f"{name}.norm2")

    def _attention(self, x: str, name: str) -> str:
        query, key, value = (self._heads(x, f"{name}.{part}") for part in ("query", "key", "value"))
        scores = self._node("MatMul", [query, self._node("Transpose", [key], perm=[0, 1, 3, 2])])
        scaled = self._node("Mul", [scores, self._constant(np.float32((self.width / self.heads) ** -0.5))])
        mixed = self._node("MatMul", [self._node("Softmax", [scaled], axis=-1), value])
        joined = self._node("Transpose", [mixed], perm=[0, 2, 1, 3])
        flat = self._node("Reshape", [joined, self._constant(np.array([0, 0, self.width]))])
        return self._dense(flat, f"{name}.out", self.width, self.width)

    def _heads(self, x: str, name: str) -> str:
        shape = self._constant(np.array([0, 0, self.heads, self.width // self.heads]))
        split = self._node("Reshape", [self._dense(x, name, self.width, self.width), shape])
        return self._node("Transpose", [split], perm=[0, 2, 1, 3])

    def _gelu(self, x: str) -> str:
        error = self._node("Erf", [self._node("Div", [x, self._constant(np.float32(2**0.5))])])
        gate = self._node("Add", [error, self._constant(np.float32(1))])
        return self._node("Mul", [self._node("Mul", [x, gate]), self._constant(np.float32(0.5))])

    def _dense(self, x: str, name: str, inputs: int, outputs: int) -> str:
        product = self._node("MatMul", [x, self._weight(f"{name}.weight", inputs, outputs)])
        return self._node("Add", [product, self._weight(f"{name}.bias", outputs)])

    def _norm(self, x: str, name: str) -> str:
        scale, shift = (self._weight(f"{name}.{part}", self.width) for part in ("weight", "bias"))
        return self._node("LayerNormalization", [x, scale, shift])

    def _node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _weight(self, name: str, *shape: int) -> str:
        values = self.rng.standard_normal(shape, dtype=np.float32) * np.float32(DEVIATION)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def _constant(self, value: np.ndarray | np.generic) -> str:
        return self._node("Constant", [], value=numpy_helper.from_array(np.asarray(value)))

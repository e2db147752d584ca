"""A layer: a view of one module of the network that owns weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor, fx, nn

from core.formulas import Formula, attach, formula_of
from core.network.ops.recurrent import Recurrent


@dataclass(frozen=True)
class Layer:
    """Cheap, made on demand; equal to another view of the same layer.

    Attributes:
        name: what `inspect` prints.
        kind: ONNX operator that it comes from: Conv, ConvTranspose, Gemm, MatMul, BatchNormalization and so on.
        module: the torch layer.
        node: its call in the normal form.
        graph: the normal form.
        tensor: which of the module's tensors is the weight. A recurrent layer has several: it is a layer with the
            first of them, and `matrices` has a view for each.
    """

    name: str
    kind: str
    module: Any
    node: fx.Node
    graph: fx.GraphModule
    tensor: str = "weight"

    @classmethod
    def of(cls, node: fx.Node, graph: fx.GraphModule) -> Layer:
        """The layer that a node calls."""
        module = graph.get_submodule(str(node.target))
        tensor = next(iter(module.matrices.values())) if isinstance(module, Recurrent) else "weight"
        return cls(node.meta["layer"], node.meta["kind"], module, node, graph, tensor)

    def matrices(self) -> list[Layer]:
        """The layer once for each of its weights: itself, or a recurrent layer's `name/input`, `name/hidden`."""
        if not isinstance(self.module, Recurrent):
            return [self]
        return [replace(self, name=f"{self.name}/{part}", tensor=held) for part, held in self.module.matrices.items()]

    @property
    def type(self) -> str:
        """The kind, under the name that the contract's layers have."""
        return self.kind

    @property
    def weight(self) -> Tensor:
        """The dense weight in torch's layout, computed if a formula stands for it."""
        return cast(Tensor, getattr(self.module, self.tensor))

    @property
    def bias(self) -> Tensor | None:
        return getattr(self.module, "bias", None)

    @property
    def groups(self) -> int:
        return getattr(self.module, "groups", 1)

    @property
    def in_channels(self) -> int:
        shape = self.weight.shape
        if self.kind in ("ConvTranspose", "Gather"):
            return shape[0]
        return shape[0] if len(shape) == 1 else shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        shape = self.weight.shape
        if isinstance(self.module, Recurrent):
            return self.module.hidden_size
        return shape[1] * self.groups if self.kind in ("ConvTranspose", "Gather") else shape[0]

    @property
    def formula(self) -> Formula | None:
        return formula_of(self.module, self.tensor)

    def reparametrise(self, formula: Formula) -> None:
        """Fit the formula to the present weight and let it compute the weight from now on.

        Layers whose weight is tied to this one's get the same formula.
        """
        formula.fit(self.weight.detach())
        for module, tensor in self.places():
            attach(module, formula, tensor)

    def places(self) -> list[tuple[nn.Module, str]]:
        """Module and tensor wherever this layer's weight is used, its own among them, in order."""
        mine = _held(self.module, self.tensor)
        return [
            (module, tensor)
            for module in self.graph.children()
            for tensor in _weights(module)
            if (module is self.module and tensor == self.tensor) or (mine is not None and _held(module, tensor) is mine)
        ]

    def tied_modules(self) -> list[nn.Module]:
        """The modules that share this layer's weight, its own among them, in order."""
        return list(dict.fromkeys(module for module, _ in self.places()))


def _weights(module: nn.Module) -> list[str]:
    return list(module.matrices.values()) if isinstance(module, Recurrent) else ["weight"]


def _held(module: nn.Module, tensor: str) -> object:
    """What a weight is kept in; None where there is none."""
    return formula_of(module, tensor) or module._parameters.get(tensor)


def kind_of(module: nn.Module, like: str = "") -> str:
    """ONNX operator of a module; a linear layer is what the layer that it replaces was."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return "ConvTranspose"
    if isinstance(module, nn.modules.conv._ConvNd):
        return "Conv"
    if isinstance(module, nn.Linear):
        return "Gemm" if like == "Gemm" else "MatMul"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "BatchNormalization"
    if isinstance(module, nn.LayerNorm):
        return "LayerNormalization"
    if isinstance(module, nn.GroupNorm):
        return "GroupNormalization"
    if isinstance(module, nn.RMSNorm):
        return "RMSNormalization"
    if isinstance(module, nn.Embedding):
        return "Gather"
    return module.operator if isinstance(module, Recurrent) else type(module).__name__

"""A layer: a view of one module of the network that owns weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, fx, nn

from core.formulas import Formula, attach, formula_of


@dataclass(frozen=True)
class Layer:
    """Cheap, made on demand; equal to another view of the same layer.

    Attributes:
        name: what `inspect` prints.
        kind: ONNX operator that it comes from: Conv, ConvTranspose, Gemm, MatMul, BatchNormalization and so on.
        module: the torch layer.
        node: its call in the normal form.
        graph: the normal form.
    """

    name: str
    kind: str
    module: Any
    node: fx.Node
    graph: fx.GraphModule

    @property
    def type(self) -> str:
        """The kind, under the name that the contract's layers have."""
        return self.kind

    @property
    def weight(self) -> Tensor:
        """The dense weight in torch's layout, computed if a formula stands for it."""
        return cast(Tensor, self.module.weight)

    @property
    def bias(self) -> Tensor | None:
        return cast("Tensor | None", self.module.bias)

    @property
    def groups(self) -> int:
        return getattr(self.module, "groups", 1)

    @property
    def in_channels(self) -> int:
        shape = self.weight.shape
        if self.kind == "ConvTranspose":
            return shape[0]
        return shape[0] if len(shape) == 1 else shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        shape = self.weight.shape
        return shape[1] * self.groups if self.kind == "ConvTranspose" else shape[0]

    @property
    def formula(self) -> Formula | None:
        return formula_of(self.module)

    def reparametrise(self, formula: Formula) -> None:
        """Fit the formula to the present weight and let it compute the weight from now on.

        Layers whose weight is tied to this one's get the same formula.
        """
        formula.fit(self.weight.detach())
        for module in self.tied_modules():
            attach(module, formula)

    def tied_modules(self) -> list[nn.Module]:
        """The modules that share this layer's weight, its own among them, in order."""
        mine = _weight_key(self.module)
        return [module for module in self.graph.children() if module is self.module or _weight_key(module) == mine]


def _weight_key(module: nn.Module) -> int | None:
    """Identity of what a module's weight is kept in; None where it has none."""
    held = formula_of(module) or module._parameters.get("weight")
    return None if held is None else id(held)


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
    return getattr(module, "operator", type(module).__name__)

"""A weight as a formula: fewer numbers, and how the weight is computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from core.formulas.emitter import Emitter
from modelpress.problem import ModelError

KINDS: dict[str, type[Formula]] = {}
"""Every formula by its kind, filled as the classes are defined."""

NODE_BYTES = 1024
"""What the nodes of a compact emission cost in the file, about; smaller gains are not worth it."""


@dataclass(frozen=True)
class Stored:
    """An array that a formula keeps: its shape and the bits of one element."""

    name: str
    shape: tuple[int, ...]
    bits: int

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def total_bits(self) -> int:
        return self.bits * self.count


class Formula(nn.Module):
    """The one parametrization of a weight.

    Stacking nests: where a formula stores a floating tensor, another formula may stand in its place.
    """

    kind: ClassVar[str]
    selectable: ClassVar[bool] = False
    """Whether `select` works; a layer whose formula can't be cut keeps all its channels."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        KINDS[cls.kind] = cls

    def fit(self, weight: Tensor) -> None:
        """Set the stored tensors so that `forward` comes as near to `weight` as it can."""
        raise TypeError(f"{self.kind} can't be fitted")

    def forward(self) -> Tensor:
        """The dense weight, differentiable in what is trained, straight-through where it must be."""
        raise TypeError(f"{self.kind} computes nothing")

    def stored(self) -> list[Stored]:
        """What is kept, nested formulas included."""
        raise TypeError(f"{self.kind} stores nothing")

    def emit(self, out: Emitter, name: str) -> str:
        """Write the weight as standard ONNX operators on stored arrays; returns the dense value's name."""
        return self.emit_dense(out, name)

    def emit_dense(self, out: Emitter, name: str) -> str:
        """Write the weight as one plain initialiser."""
        return out.initializer(name, as_array(self()))

    def select(self, axis: int, keep: Tensor) -> None:
        """Keep the given indices of an axis of the weight, in that order."""
        raise TypeError(f"{self.kind} can't be cut")

    def config(self) -> dict[str, Any]:
        """What `from_config` needs besides the tensors, as JSON."""
        raise TypeError(f"{self.kind} can't be saved")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Formula:
        """An instance whose tensors have the right shapes and no values yet."""
        raise TypeError(f"{cls.kind} can't be loaded")

    def check(self) -> None:
        """Raise ModelError where loaded tensors contradict one another."""


def as_array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def to_config(formula: Formula) -> dict[str, Any]:
    """JSON that `restore` turns back into the formula, together with its `state_dict`."""
    return {"kind": formula.kind, **formula.config()}


def from_config(config: Mapping[str, Any]) -> Formula:
    """The formula that `to_config` described, its tensors without values.

    Raises:
        ModelError: an unknown kind, or fields missing or of the wrong type.
    """
    kind = KINDS.get(str(config.get("kind")))
    if kind is None:
        raise ModelError(f"no formula is called {config.get('kind')!r}; there are {', '.join(sorted(KINDS))}")
    try:
        return kind.from_config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the description of a {kind.kind} formula is wrong: {error}") from error


def restore(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Formula:
    """Build a formula from data that may be hostile; allocates nothing beyond the given tensors.

    Raises:
        ModelError: the description and the tensors don't fit together.
    """
    with torch.device("meta"):
        formula = from_config(config)
    try:
        expected = {name: tensor.dtype for name, tensor in formula.state_dict().items()}
        wrong = [name for name, dtype in expected.items() if name in tensors and tensors[name].dtype != dtype]
        if wrong:
            raise ModelError(f"tensors of the wrong type in a {formula.kind} formula: {', '.join(wrong)}")
        formula.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"the tensors of a {formula.kind} formula don't fit: {error}") from error
    formula.check()
    return formula


def shape_from(config: Mapping[str, Any], key: str = "shape") -> tuple[int, ...]:
    """A shape out of JSON. Raises ValueError unless it is a list of sizes."""
    shape = config[key]
    if not isinstance(shape, list) or not all(isinstance(n, int) and 0 <= n < 2**31 for n in shape):
        raise ValueError(f"{key} must be a list of sizes, got {shape!r}")
    if prod(shape) >= 2**31:
        raise ValueError(f"{key} {shape} has more elements than a weight may have")
    return tuple(shape)

"""Put a formula in the place of a layer's tensor, and take it out again."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from core.formulas.formula import Formula

SLOT = "_formula"


def attach(module: nn.Module, formula: Formula, tensor: str = "weight") -> None:
    """Let `module.<tensor>` be computed by the formula each time it is read.

    The module keeps its place, its name and all isinstance relations; a formula attached before is replaced.
    Layers whose weights are tied get the same formula object.
    """
    if formula_of(module, tensor) is not None:
        setattr(module, _slot(tensor), formula)
        return
    delattr(module, tensor)
    module.add_module(_slot(tensor), formula)
    module.__class__ = _computing(_plain(type(module)), frozenset(computed(module)))


def detach(module: nn.Module, tensor: str = "weight") -> None:
    """Turn the computed tensor back into an ordinary parameter of the same value."""
    formula = formula_of(module, tensor)
    if formula is None:
        return
    with torch.no_grad():
        value = formula().clone()
    delattr(module, _slot(tensor))
    module.__class__ = _computing(_plain(type(module)), frozenset(computed(module)))
    module.register_parameter(tensor, nn.Parameter(value))


def formula_of(module: nn.Module, tensor: str = "weight") -> Formula | None:
    """The formula that computes a tensor of this module, if one does."""
    found = module._modules.get(_slot(tensor))
    return found if isinstance(found, Formula) else None


def computed(module: nn.Module) -> dict[str, Formula]:
    """The formulas of this module, by the tensor that each computes."""
    found = ((name.removesuffix(SLOT), held) for name, held in module._modules.items() if name.endswith(SLOT))
    return {tensor: held for tensor, held in found if isinstance(held, Formula)}


def _slot(tensor: str) -> str:
    return f"{tensor}{SLOT}"


class _Computing:
    """Marks the classes made here."""


def _plain(module_type: type[nn.Module]) -> type[nn.Module]:
    return module_type.__bases__[1] if issubclass(module_type, _Computing) else module_type


@cache
def _computing(base: type[nn.Module], tensors: frozenset[str]) -> type[nn.Module]:
    """A subclass of `base` whose `tensors` are properties; named like `base`, so that prints don't change."""
    if not tensors:
        return base
    properties = {tensor: property(_reader(tensor)) for tensor in tensors}
    return type(base.__name__, (_Computing, base), {**properties, "__module__": base.__module__})


def _reader(tensor: str) -> Callable[[nn.Module], Tensor]:
    def read(module: nn.Module) -> Tensor:
        return getattr(module, _slot(tensor))()

    return read

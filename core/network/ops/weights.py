"""How the tensors of a layer are written: as an initialiser under their old name, or as their formula."""

from torch import nn

from core.formulas import formula_of
from core.network.emission import Emission
from core.network.inner_weights import InnerWeight
from core.network.registry import Call, emits


def emit_weight(out: Emission, call: Call, tensor: str, transposed: bool = False) -> str:
    """Write `module.<tensor>`; returns the value's name. Tied tensors are written once.

    The name comes from `call.names` (what the source calls it) or from the layer. `transposed` swaps a matrix.
    """
    assert isinstance(call.module, nn.Module)
    module = call.module
    wanted = call.names.get(tensor) or f"{call.layer or call.base}.{tensor}"
    formula = formula_of(module, tensor)
    key = getattr(module, tensor) if formula is None else formula
    other = out.written(key, not transposed)
    if other is not None:
        return out.once(key, transposed, lambda: _transpose(out, other, wanted))
    if formula is None or out.dense:
        value = getattr(module, tensor)
        return out.once(key, transposed, lambda: out.floats(wanted, value.T if transposed else value))
    if not transposed:
        return out.once(formula, False, lambda: out.formula(formula, wanted))
    dense = out.once(formula, False, lambda: out.formula(formula, f"{wanted}/rows"))
    return out.once(formula, True, lambda: _transpose(out, dense, wanted))


def _transpose(out: Emission, matrix: str, name: str) -> str:
    return out.node("Transpose", [matrix], name=name, perm=[1, 0])


@emits(InnerWeight)
def emit_inner_weight(out: Emission, call: Call) -> str:
    """The weight alone: the node that uses it captures it."""
    assert isinstance(call.module, InnerWeight)
    out.float_type = call.module.stored
    return emit_weight(out, call, "weight")

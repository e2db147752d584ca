"""Functions of several tensors that broadcast: arithmetic, comparisons, Where."""

from collections.abc import Callable
from functools import partial, reduce

import torch
from torch import Tensor

from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.simple import broadcasting
from core.network.registry import ARITHMETIC, TABLES, operator
from core.network.unsupported import Unsupported
from core.network.values import Value


def add(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.add, a, b)


def sub(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.sub, a, b)


def mul(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.mul, a, b)


def div(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    if a.is_floating_point():
        return join(torch.div, a, b)
    return join(_divide, a, b)


def pow_(a: Tensor, b: Tensor) -> Tensor:
    """In the type of the base."""
    return join(torch.pow, a, b).to(a.dtype)


def mod(a: Tensor, b: Tensor, *, fmod: int) -> Tensor:
    return join(partial(_remainder, torch.fmod if fmod else torch.remainder), a, b)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """The least integer over -1 is out of range, on which processors stop the program; it wraps, as a negation does."""
    return torch.where(b == -1, -a, torch.div(a, torch.where(b == -1, 1, b), rounding_mode="trunc"))


def _remainder(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """The least integer over -1 has a remainder, but processors divide to find it."""
    if a.is_floating_point() or not b.dtype.is_signed:
        return function(a, b)
    return torch.where(b == -1, 0, function(a, torch.where(b == -1, 1, b)))


def min_(*tensors: Tensor) -> Tensor:
    return reduce(lambda a, b: join(torch.minimum, a, b), tensors)


def max_(*tensors: Tensor) -> Tensor:
    return reduce(lambda a, b: join(torch.maximum, a, b), tensors)


def sum_(*tensors: Tensor) -> Tensor:
    return reduce(add, tensors)


def mean_(*tensors: Tensor) -> Tensor:
    return reduce(add, tensors) / len(tensors)


def equal(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.eq, a, b)


def less(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.lt, a, b)


def less_or_equal(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.le, a, b)


def greater(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.gt, a, b)


def greater_or_equal(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.ge, a, b)


def and_(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.logical_and, a, b)


def or_(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.logical_or, a, b)


def xor(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.logical_xor, a, b)


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    device = next((t.device for t in (condition, a, b) if t.device.type != "cpu"), condition.device)
    return torch.where(condition.to(device), a.to(device), b.to(device))


def join(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    return function(*together(a, b))


def together(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A value of the shape plane lives on the CPU; it follows a partner that does not."""
    if a.device == b.device:
        return a, b
    device = a.device if b.device.type == "cpu" else b.device
    return a.to(device), b.to(device)


for _op, _function in {
    "Add": add,
    "Sub": sub,
    "Mul": mul,
    "Div": div,
    "Min": min_,
    "Max": max_,
    "Sum": sum_,
    "Mean": mean_,
}.items():
    broadcasting(_op, _function)
    ARITHMETIC.add(_function)

TABLES.update([add, sub])

for _op, _function in {
    "Pow": pow_,
    "Equal": equal,
    "Less": less,
    "LessOrEqual": less_or_equal,
    "Greater": greater,
    "GreaterOrEqual": greater_or_equal,
    "And": and_,
    "Or": or_,
    "Xor": xor,
    "Where": where,
}.items():
    broadcasting(_op, _function)

broadcasting("Mod", mod, fmod=0)


@operator("Add", "Sub", "Mul", "Div")
def build_arithmetic(builder: Builder, node: OnnxNode) -> Value:
    if node.opset < 7 and (node.has("broadcast") or node.has("axis")):
        raise Unsupported(f"{node.op} with the broadcasting of opset 6")
    function = {"Add": add, "Sub": sub, "Mul": mul, "Div": div}[node.op]
    return builder.call(function, node.input(0), node.input(1))

"""Einsum: a sum of products over axes named by letters. With a constant second operand it may be a linear layer."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.linear import linear
from core.network.ops.shape import reshape, transpose
from core.network.registry import PRODUCTS, Call, emits, operator
from core.network.tables import long_axes
from core.network.values import Value


def einsum(*operands: Tensor, equation: str) -> Tensor:
    """`equation` has no blanks; an ellipsis stands for axes that broadcast."""
    check_allocation(_result_sizes(equation, operands))
    return torch.einsum(equation, *operands)


def _result_sizes(equation: str, operands: Sequence[Tensor]) -> list[int]:
    """Of the letters that stay; without those of an ellipsis, which are as many as an operand has."""
    terms, arrow, result = equation.partition("->")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms.split(","), operands, strict=True):
        leading, _, trailing = term.partition("...")
        places = [*range(len(leading)), *range(-len(trailing), 0)]
        for letter, place in zip(leading + trailing, places, strict=True):
            sizes[letter] = max(operand.shape[place], sizes.get(letter, 0))
    once = [letter for letter in sizes if terms.count(letter) == 1]
    return [sizes.get(letter, 1) for letter in (result.replace("...", "") if arrow else once)]


PRODUCTS.add(einsum)


@operator("Einsum")
def build_einsum(builder: Builder, node: OnnxNode) -> Value:
    node.only("equation")
    equation = "".join(node.attribute("equation").split())
    if node.count() == 2 and node.is_constant(1) and not node.is_constant(0):
        product = MatrixProduct.of(equation, node)
        if product is not None:
            return product.build(builder, node)
    return builder.call(einsum, *node.inputs(), equation=equation)


@dataclass(frozen=True)
class MatrixProduct:
    """An equation of x and a weight that is a product with a matrix, but for the order and number of axes.

    Attributes:
        x, weight, result: a letter for each axis.
    """

    x: str
    weight: str
    result: str

    @classmethod
    def of(cls, equation: str, node: OnnxNode) -> MatrixProduct | None:
        """None where an axis is summed alone or kept by both, the weight is a vector, or no result is named."""
        operands, arrow, result = equation.partition("->")
        x, _, weight = operands.partition(",")
        rank = node.rank(0)
        if not arrow or rank is None:
            return None
        if "..." in x:
            spare = [letter for letter in string.ascii_letters if letter not in operands]
            axes = "".join(spare[: rank - len(x) + 3])
            x, result = x.replace("...", axes), result.replace("...", axes)
        found, held = cls(x, weight, result), node.tensor(1)
        is_one = len(x) == rank and len(weight) == held.dim() and held.is_floating_point()
        is_one = is_one and long_axes(held.numpy()) > 1
        return found if is_one and found._is_matrix_product() and found._fits(node) else None

    def _is_matrix_product(self) -> bool:
        sides = [self.x, self.weight, self.result]
        if not all(side.isalpha() and len(set(side)) == len(side) for side in sides):
            return False
        return bool(self.rest and self.summed) and sorted(self.rest + self.made) == sorted(self.result)

    def _fits(self, node: OnnxNode) -> bool:
        """Whether it is known that no axis is broadcast."""
        sizes, held = node.shape(0), node.tensor(1).shape
        assert sizes is not None
        pairs = [(sizes[self.x.index(letter)], held[self.weight.index(letter)]) for letter in self.summed]
        return all(size == expected for size, expected in pairs)

    @property
    def rest(self) -> str:
        return "".join(letter for letter in self.x if letter not in self.weight)

    @property
    def summed(self) -> str:
        return "".join(letter for letter in self.weight if letter in self.x)

    @property
    def made(self) -> str:
        return "".join(letter for letter in self.weight if letter not in self.x)

    def build(self, builder: Builder, node: OnnxNode) -> Value:
        """The summed axes last and flat, the layer, its result unfolded and in order."""
        weight = node.tensor(1)
        made = [weight.shape[self.weight.index(letter)] for letter in self.made]
        matrix = weight.permute([self.weight.index(letter) for letter in self.made + self.summed])
        rows = matrix.reshape(matrix.shape[: len(made)].numel(), -1)
        value = _in_order(builder, node.input(0), self.x, self.rest + self.summed)
        kept = [0] * len(self.rest)
        if len(self.summed) > 1:
            value = builder.call(reshape, value, shape=[*kept, rows.shape[1]])
        value = linear(builder, node, value, f"of {self.weight} as {self.made},{self.summed}", rows, None)
        if len(made) != 1:
            value = builder.call(reshape, value, shape=[*kept, *made])
        return _in_order(builder, value, self.rest + self.made, self.result)


def _in_order(builder: Builder, value: Value, letters: str, wanted: str) -> Value:
    if letters == wanted:
        return value
    return builder.call(transpose, value, perm=[letters.index(letter) for letter in wanted])


@emits(einsum)
def emit_einsum(out: Emission, call: Call) -> str:
    return out.node("Einsum", call.inputs, name=call.base, equation=call.kwargs["equation"])

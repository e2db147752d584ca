"""How identities of channels pass functions of single elements, broadcasting and products of computed values."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.following import follow
from core.network.channels.identities import Ids
from core.network.channels.rules.contraction import contract
from core.network.channels.trace import Trace, rule
from core.network.ops import arithmetic, picking
from core.network.ops.einsum import einsum
from core.network.ops.linear import matmul
from core.network.registry import BROADCASTING, ELEMENTWISE

PRODUCTS = {arithmetic.mul}
SUMS = {arithmetic.add, arithmetic.sub, arithmetic.sum_}


@rule(*ELEMENTWISE, nn.Dropout, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Softplus)
def pass_elementwise(trace: Trace, node: fx.Node) -> Carried:
    carried = trace.carriers(node.args[0])
    if not any(carrier.zero for carrier in carried) or _keeps_zero(trace, node):
        return list(carried)
    return [carrier.without_zero() for carrier in carried]


def _keeps_zero(trace: Trace, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(trace.module(node), nn.Dropout | nn.ReLU | nn.Tanh | nn.Identity)
    assert callable(node.target)
    return len(node.all_input_nodes) == 1 and not bool(
        torch.as_tensor(node.target(torch.zeros(1), **node.kwargs)).any()
    )


@rule(*BROADCASTING)
def pass_broadcasting(trace: Trace, node: fx.Node) -> Carried:
    """Axes are aligned from the right; where several operands carry channels, they are united."""
    operands = [arg for arg in node.args if isinstance(arg, fx.Node)]
    _hold_blocks(trace, node, operands)
    shape = trace.shape(node)
    result: Carried = _blocks(trace, operands, len(shape))
    taken = {axis for block in result for axis in block.axes}
    for axis in range(len(shape)):
        if axis in taken:
            continue
        ids = aligned(trace, node, operands, len(shape) - axis, shape[axis])
        if ids is not None:
            result.append(Carrier((axis,), ids, _is_zero(trace, node, operands, len(shape) - axis)))
    _hold_spread(trace, node, operands)
    return result


def _hold_spread(trace: Trace, node: fx.Node, operands: list[fx.Node]) -> None:
    """A channel alone that is spread over others can't go: nothing would be left to spread."""
    for operand in operands:
        for axis, size in enumerate(reversed(trace.shape(operand))):
            if size == 1 and trace.shape(node)[-1 - axis] > 1:
                trace.settle(operand, -1 - axis, f"{trace.name(node)} spreads it over others")


def _hold_blocks(trace: Trace, node: fx.Node, operands: list[fx.Node]) -> None:
    """Hold blocks together along the axes where another operand has numbers of its own but not the same block."""
    again = True
    while again:
        again = False
        for operand in operands:
            for block in [c for c in trace.carriers(operand) if c.is_block]:
                met = {
                    axis for other in operands if other is not operand for axis in _met(trace, operand, block, other)
                }
                held = block.axes[1:] if block.axis in met else met
                for axis in held:
                    trace.settle(operand, axis, "")
                    again = True


def _met(trace: Trace, operand: fx.Node, block: Carrier, other: fx.Node) -> list[int]:
    """The axes of a block along which the other operand varies, unless it has the same block there."""
    rank, its_rank = len(trace.shape(operand)), len(trace.shape(other))
    backs = [rank - axis for axis in block.axes]
    met = [
        axis for axis, back in zip(block.axes, backs, strict=True) if back <= its_rank and trace.shape(other)[-back] > 1
    ]
    twin = trace.carrier(other, -backs[0]) if backs[0] <= its_rank else None
    same = twin is not None and [its_rank - axis for axis in twin.axes] == backs and twin.ids.shape == block.ids.shape
    return [] if same else met


def _blocks(trace: Trace, operands: list[fx.Node], rank: int) -> Carried:
    """Blocks that all operands which vary there share."""
    found: dict[tuple[int, ...], Carrier] = {}
    for operand in operands:
        shift = rank - len(trace.shape(operand))
        for block in trace.carriers(operand):
            if not block.is_block:
                continue
            here = block.moved(lambda axis, shift=shift: axis + shift)
            first = found.setdefault(here.axes, here.without_zero())
            if first.ids is not here.ids:
                trace.unite(first.ids, here.ids)
    return list(found.values())


def aligned(trace: Trace, node: fx.Node, operands: list[fx.Node], back: int, size: int) -> Ids | None:
    """Identities along one axis, counted from the right, of operands that broadcast there."""
    for operand in operands:
        if size > 1 and len(trace.shape(operand)) >= back and trace.shape(operand)[-back] == 1:
            trace.lock(trace.ids(operand, -back), f"{trace.name(node)} repeats it")
    reach = [o for o in operands if len(trace.shape(o)) >= back and trace.shape(o)[-back] == size]
    known = [ids for o in reach if (ids := trace.ids(o, -back)) is not None]
    if not known:
        return None
    first = known[0]
    for other in known[1:]:
        trace.unite(first, other)
    if size == 1:
        return first
    for operand in reach:
        if trace.ids(operand, -back) is None and not follow(trace, operand, -back, first):
            trace.lock(first, f"{trace.name(operand)} is joined to it by {trace.name(node)} and can't be cut")
    return first


def _is_zero(trace: Trace, node: fx.Node, operands: list[fx.Node], back: int) -> bool:
    """Whether the result is 0 where the channel's parameters are."""
    reach = [o for o in operands if len(trace.shape(o)) >= back]
    zeros = [trace.is_zero(o, -back) or (o.op == "get_attr" and trace.shape(o)[-back] > 1) for o in reach]
    if node.target in PRODUCTS:
        return any(zeros)
    return node.target in SUMS and all(zeros) and len(reach) == len(operands)


@rule(matmul)
def pass_matmul(trace: Trace, node: fx.Node) -> Carried:
    """A product of two values, none of which is a layer's weight."""
    a, b = (len(trace.shape(operand)) for operand in node.args[:2])
    batch = max(a, b, 2) - 2
    letters = [f"batch{place}" for place in range(batch)]
    left = (["row"] if a > 1 else []) + ["inner"]
    right = ["inner"] + (["column"] if b > 1 else [])
    labels = [letters[len(letters) - max(a - 2, 0) :] + left, letters[len(letters) - max(b - 2, 0) :] + right]
    result = letters + left[:-1] + right[1:]
    operands: Any = node.args[:2]
    return contract(trace, node, list(operands), labels, result)


@rule(einsum)
def pass_einsum(trace: Trace, node: fx.Node) -> Carried:
    """A contraction over labelled axes; one that takes a diagonal can't be cut."""
    operands = [arg for arg in node.args if isinstance(arg, fx.Node)]
    equation = _with_result(str(node.kwargs["equation"]))
    terms, _, result = equation.partition("->")
    labels = [
        _letters(term, len(trace.shape(operand))) for term, operand in zip(terms.split(","), operands, strict=True)
    ]
    if any(len(set(names)) < len(names) for names in labels):
        for operand in operands:
            trace.lock_all(operand, f"{trace.name(node)} gives no way to cut it")
        return []
    return contract(trace, node, operands, labels, _letters(result, len(trace.shape(node))))


def _with_result(equation: str) -> str:
    """Where none is named, the result has the axes of an ellipsis and the letters that stand once, in order."""
    if "->" in equation:
        return equation
    once = sorted(letter for letter in set(equation) if letter.isalpha() and equation.count(letter) == 1)
    return f"{equation}->{'...' * ('...' in equation)}{''.join(once)}"


def _letters(term: str, rank: int) -> list[str]:
    """One label for each axis; those of an ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{place}" for place in reversed(range(hidden))), *after]


@rule(picking.trilu)
def pass_trilu(trace: Trace, node: fx.Node) -> Carried:
    """Half of each matrix becomes 0."""
    x = node.args[0]
    rank = len(trace.shape(x))
    for axis in (rank - 2, rank - 1):
        trace.settle(x, axis, f"{trace.name(node)} blanks half of it")
    return list(trace.carriers(x))

"""Whether the ONNX that a torch.export program became computes what the program computes."""

from typing import Any

import torch
from onnx import ModelProto
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from core.measure.runner import open_session
from core.network.limits import check_allocation
from modelpress.export.comparing import difference
from modelpress.problem import ModelError

Sizes = dict[Any, int]
"""Of the program's symbols."""


def compare(program: ExportedProgram, model: ModelProto) -> list[str]:
    """Run both on random inputs, of the sizes that the program was made with and of others if it takes them.

    Returns:
        on what they agreed.

    Raises:
        ModelError: they differ.
    """
    module, session = program.module(), open_session(model.SerializeToString())
    names, agreed = [value.name for value in session.get_inputs()], []
    for what, inputs in _cases(program):
        try:
            expected = _run(program, module, inputs)
        except Exception:  # a guard of the program: it does not take other sizes
            if not agreed:
                raise
            continue
        came = session.run(None, dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True)))
        for output, found in zip(expected, came, strict=True):
            if fault := difference(output, torch.from_numpy(found)):
                raise ModelError(f"as ONNX the program computes something else: on {what}, an output {fault}")
        agreed.append(what)
    return agreed


def _cases(program: ExportedProgram) -> list[tuple[str, list[torch.Tensor]]]:
    names = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    generator = torch.Generator().manual_seed(0)
    cases = [("random values", [_drawn(value, [_hint(size) for size in value.shape], generator) for value in values])]
    others = _others([size for value in values for size in value.shape])
    if others:
        shapes = [[_resized(size, others) for size in value.shape] for value in values]
        drawn = [_drawn(value, shape, generator) for value, shape in zip(values, shapes, strict=True)]
        cases.append(("other sizes", drawn))
    return cases


def _hint(size: int | torch.SymInt) -> int:
    hint = size if isinstance(size, int) else size.node.hint
    if hint is None or hint < 0:
        raise ModelError("the .pt2 file does not say how large its inputs were", hint="Export it again with examples.")
    return int(hint)


def _others(sizes: list[int | torch.SymInt]) -> Sizes:
    """Each symbol that stands alone, one larger."""
    free = [size for size in sizes if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol]
    return {size.node.expr: _hint(size) + 1 for size in free}


def _resized(size: int | torch.SymInt, others: Sizes) -> int:
    return size if isinstance(size, int) else int(size.node.expr.subs(others))


def _drawn(value: torch.Tensor, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    check_allocation(shape, 8)
    if value.dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(value.dtype)
    return torch.randint(0, 2, shape, generator=generator).to(value.dtype)


def _run(program: ExportedProgram, module: torch.nn.Module, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    structure = program.call_spec.in_spec
    assert structure is not None
    arguments, named = pytree.tree_unflatten(inputs, structure)
    with torch.no_grad():
        return pytree.tree_leaves(module(*arguments, **named))

"""Functions that a model brings along: whether they are any, how much they unfold to, and what they unfold to."""

import onnx
from onnx import FunctionProto, ModelProto, NodeProto
from onnx.inliner import inline_local_functions

from core.network import limits
from core.network.protos import all_graphs, all_nodes, subgraphs
from core.network.runtime_operators import computed_by_onnxruntime
from modelpress.problem import ModelError, ModelTooLarge

Key = tuple[str, str, str]
STANDARD = {"", "ai.onnx"}


def check_functions(model: ModelProto) -> None:
    """Refuse functions that make no sense, call one another without end, or unfold to more nodes than a model may have.

    Raises:
        ModelError: naming the function. ModelTooLarge
    """
    functions = {_key(function): function for function in model.functions}
    for (domain, name, _), function in functions.items():
        if domain in STANDARD and onnx.defs.has(name, ""):
            raise ModelError(f"the function {name} has the name of a standard operator", hint="Give it another name.")
        made = {output for node in function.node for output in node.output}
        if unmade := [output for output in function.output if output not in made]:
            raise ModelError(f"the function {name} gives out {unmade[0]!r}, which none of its nodes makes")
    for node in all_nodes(model):
        if called := functions.get(_called(node)):
            _check_call(node, called)
    sizes: dict[Key, int] = {}
    for key in functions:
        _size(key, functions, sizes, [])
    total = sum(sizes.get(_called(node), 1) for graph in all_graphs(model.graph) for node in graph.node)
    if total > limits.MAX_NODES:
        raise ModelTooLarge(f"the model's functions unfold to more than {limits.MAX_NODES:,} nodes")


def inlined(model: ModelProto) -> ModelProto:
    """The model without functions: each call replaced by what the function does; itself where there are none.

    Functions of operators that onnxruntime computes itself are never used by it. onnx's inliner knows no default
    values of attributes, so that calls are given them before.
    """
    if not model.functions:
        return model
    called = [one for one in model.functions if not computed_by_onnxruntime(one.domain, one.name)]
    defaults = {_key(function): function.attribute_proto for function in called if function.attribute_proto}
    if len(called) < len(model.functions) or defaults:
        copy = ModelProto()
        copy.CopyFrom(model)
        del copy.functions[:]
        copy.functions.extend(called)
        model = copy
        for node in all_nodes(model):
            given = {attribute.name for attribute in node.attribute}
            left_out = [one for one in defaults.get(_called(node), ()) if one.name not in given]
            node.attribute.extend(left_out)
    return inline_local_functions(model)


def _check_call(node: NodeProto, function: FunctionProto) -> None:
    pairs = {"inputs": (node.input, function.input), "outputs": (node.output, function.output)}
    for what, (given, formal) in pairs.items():
        if len(given) > len(formal):
            place = node.name or "/".join(node.output)
            raise ModelError(
                f"{node.op_type} node {place!r} has {len(given)} {what}; the function {function.name} has {len(formal)}"
            )


def _size(key: Key, functions: dict[Key, FunctionProto], sizes: dict[Key, int], callers: list[Key]) -> int:
    """Nodes that a call becomes."""
    if key in callers:
        raise ModelError(f"the function {key[1]} calls itself")
    if len(callers) >= limits.MAX_CALLS:
        raise ModelTooLarge(f"functions call one another deeper than {limits.MAX_CALLS} levels, down to {key[1]}")
    if key not in sizes:
        calls = [_called(node) for node in _nodes(functions[key])]
        within = [*callers, key]
        sizes[key] = sum(_size(call, functions, sizes, within) if call in functions else 1 for call in calls)
    return sizes[key]


def _key(function: FunctionProto) -> Key:
    return function.domain, function.name, function.overload


def _called(node: NodeProto) -> Key:
    return node.domain, node.op_type, node.overload


def _nodes(function: FunctionProto) -> list[NodeProto]:
    inner = [graph for node in function.node for outer in subgraphs(node) for graph in all_graphs(outer, 1)]
    return [*function.node, *(node for graph in inner for node in graph.node)]

"""The JSON of a torch.export archive, read by torch's own schema and held to it, field by field.

torch's reader believes what the file says of types, and its loader acts on every field. Here a field is of the type
that the schema says, a string has passed its rule, and what a network does not need is set to a constant. A string
for which there is no rule is refused, and so is every kind of argument that is not listed.
"""

import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import IntEnum
from functools import cache
from types import UnionType
from typing import Any

import torch
from torch._export.serde import schema
from torch._export.serde.union import _Union

from core.formats.pt2_operators import check_operator
from core.formats.pt2_text import (
    check_expression,
    check_name,
    check_path,
    check_plain,
    check_symbol,
    check_tree,
)
from core.network.limits import MAX_NODES, MAX_RANK, check_allocation
from modelpress.problem import ModelError, ModelTooLarge

DENSE = schema.Layout.Strided
TYPES = frozenset(range(1, 9)) | {12, 13}  # integers, floats, truth values
LARGEST = 2**63
Text = Callable[[str], str]

_ARGUMENTS = """
    as_none as_tensor as_tensors as_int as_ints as_float as_floats as_string as_bool as_bools as_scalar_type
    as_memory_format as_layout as_device as_sym_int as_sym_ints as_sym_bool as_sym_float as_sym_floats
    as_optional_tensors as_optional_tensor
"""
CASES = {
    "Argument": frozenset(_ARGUMENTS.split()),
    "InputSpec": frozenset(("user_input", "parameter", "buffer", "tensor_constant")),
    "OutputSpec": frozenset(("user_output",)),
}
"""What a union may be; one that is not here may be all that the schema says."""

TEXTS: dict[tuple[str, str], Text] = {
    ("TensorArgument", "name"): check_name,
    ("SymIntArgument", "as_name"): check_name,
    ("SymFloatArgument", "as_name"): check_name,
    ("SymBoolArgument", "as_name"): check_name,
    ("NamedArgument", "name"): check_name,
    ("Node", "name"): check_name,
    ("Node", "target"): check_operator,
    ("Argument", "as_string"): check_plain,
    ("SymExpr", "expr_str"): check_expression,
    ("Graph", "tensor_values"): check_name,
    ("Graph", "sym_int_values"): check_name,
    ("Graph", "sym_bool_values"): check_name,
    ("Graph", "sym_float_values"): check_name,
    ("InputToParameterSpec", "parameter_name"): check_path,
    ("InputToBufferSpec", "buffer_name"): check_path,
    ("InputToTensorConstantSpec", "tensor_constant_name"): check_path,
    ("ModuleCallSignature", "in_spec"): check_tree,
    ("ModuleCallSignature", "out_spec"): check_tree,
    ("ModuleCallSignature", "forward_arg_names"): check_name,
    ("ExportedProgram", "range_constraints"): check_symbol,
    ("PayloadConfig", "config"): check_path,
    ("PayloadMeta", "path_name"): check_name,
}

FIXED: dict[str, dict[str, Any]] = {
    "Device": {"type": "cpu", "index": None},
    "TensorMeta": {"requires_grad": False},
    "Node": {"metadata": {}, "is_hop_single_tensor_return": None},
    "Graph": {"custom_obj_values": {}, "is_single_tensor_return": False},
    "GraphModule": {"metadata": {}, "treespec_namedtuple_fields": {}},
    "ModuleCallEntry": {"fqn": ""},
    "ExportedProgram": {
        "guards_code": [],
        "verifiers": ["TRAINING"],
        "torch_version": torch.__version__,
        "opset_version": {"aten": torch._C._get_max_operator_version()},
        "schema_version": dict(zip(("major", "minor"), schema.SCHEMA_VERSION, strict=True)),
    },
}


def read_program(data: Any) -> dict[str, Any]:
    """An exported program as the loader may see it.

    Raises:
        ModelError: it holds something that a network does not need.
    """
    program = _dict(data, "the program")
    if (version := _dict(program.get("schema_version"), "its version").get("major")) != schema.SCHEMA_VERSION[0]:
        raise ModelError(
            f"the .pt2 file is of schema {version!r}; this service reads schema {schema.SCHEMA_VERSION[0]}",
            hint=f"Save it with torch {torch.__version__.split('+')[0]}.",
        )
    module = _dict(program.get("graph_module"), "its graph module")
    calls = module.get("module_call_graph")
    if not isinstance(calls, list) or not calls:
        raise ModelError("the .pt2 file does not say how its program is called")
    # Of the modules that the graph was made from, only the outermost says how it is called.
    return conform(
        schema.ExportedProgram, {**program, "graph_module": {**module, "module_call_graph": calls[:1]}}, "program"
    )


def read_payloads(data: Any) -> dict[str, Any]:
    """What the file says of its weights: by name, each record's name and the tensor's shape. Raises ModelError."""
    return conform(schema.PayloadConfig, data, "weights")["config"]


def conform(kind: Any, data: Any, where: str, text: Text | None = None) -> Any:
    """`data` with the fields of `kind` alone, each of its type. Raises ModelError."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        (kind,) = (choice for choice in inner if choice is not type(None))
        return None if data is None else conform(kind, data, where, text)
    if origin is list and isinstance(data, list):
        return [conform(inner[0], item, where, text) for item in data]
    if origin is dict and isinstance(data, dict) and text is not None:
        return {text(key): conform(inner[1], value, where) for key, value in data.items()}
    if isinstance(kind, type) and issubclass(kind, _Union):
        return _case(kind, _dict(data, where))
    if is_dataclass(kind):
        return _fields(kind, _dict(data, where))
    if isinstance(kind, type):
        return _scalar(kind, data, where, text)
    raise ModelError(f"the .pt2 file's {where} has the wrong type")


def _case(kind: type, data: dict[str, Any]) -> dict[str, Any]:
    name, hints = next(iter(data), ""), _hints(kind)
    if len(data) != 1 or name not in CASES.get(kind.__name__, hints):
        raise ModelError(
            f"the .pt2 file has a {kind.__name__} that is {str(name)[:100]!r}, which is not taken",
            hint="Networks of tensors alone are taken, exported in eval mode; export others with torch.onnx.export.",
        )
    value = conform(hints[name], data[name], f"{kind.__name__}.{name}", TEXTS.get((kind.__name__, name)))
    if name == "as_layout" and value != DENSE:
        raise ModelError("the .pt2 file makes sparse tensors, which no network here is made of")
    return {name: value}


def _fields(kind: Any, data: dict[str, Any]) -> dict[str, Any]:
    fixed, hints, found = FIXED.get(kind.__name__, {}), _hints(kind), {}
    for field in fields(kind):
        name, where = field.name, f"{kind.__name__}.{field.name}"
        if name in fixed:
            found[name] = fixed[name]
        elif name in data:
            found[name] = conform(hints[name], data[name], where, TEXTS.get((kind.__name__, name)))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ModelError(f"the .pt2 file has no {where}")
    if check := CHECKS.get(kind.__name__):
        check(found)
    return found


def _scalar(kind: type, data: Any, where: str, text: Text | None) -> Any:
    if kind is str and isinstance(data, str) and text is not None:
        return text(data)
    if kind is float and (type(data) in (int, float) or data in ("Infinity", "-Infinity", "NaN")):
        return data
    if kind is bool and isinstance(data, bool):
        return data
    is_integer = type(data) is int and -LARGEST <= data < LARGEST
    if is_integer and (kind is int or (issubclass(kind, IntEnum) and data in list(kind))):
        return data
    raise ModelError(f"the .pt2 file's {where} holds {str(data)[:100]!r}, which is not what belongs there")


def _check_meta(meta: dict[str, Any]) -> None:
    if meta["dtype"] not in TYPES or meta["layout"] != DENSE:
        raise ModelError("the .pt2 file has tensors that are neither dense nor of integers, floats or truth values")
    sizes = [size.get("as_int", 1) for size in meta["sizes"]]
    strides = [stride.get("as_int", 0) for stride in meta["strides"]]
    if len(sizes) > MAX_RANK or len(strides) != len(sizes) or min([0, *sizes, *strides]) < 0:
        raise ModelError(f"the .pt2 file has a tensor of shape {sizes[:MAX_RANK]} and strides {strides[:MAX_RANK]}")
    check_allocation(sizes, 8)


def _check_range(bounds: dict[str, Any]) -> None:
    low, high = bounds.get("min_val"), bounds.get("max_val")
    if low is not None and high is not None and low > high:
        raise ModelError(f"the .pt2 file has a size that lies between {low} and {high}")


def _check_argument(argument: dict[str, Any]) -> None:
    """What is made to measure is no larger than it may be."""
    sizes = next(iter(argument["arg"].values()))
    if argument["name"] in ("size", "repeats") and isinstance(sizes, list):
        known = [size if isinstance(size, int) else size.get("as_int", 1) for size in sizes]
        check_allocation((max(size, 1) for size in known), 8)


def _check_graph(graph: dict[str, Any]) -> None:
    if len(graph["nodes"]) > MAX_NODES:
        raise ModelTooLarge(f"the program has {len(graph['nodes']):,} nodes; at most {MAX_NODES:,} are allowed")
    for value in (*graph["inputs"], *graph["outputs"]):
        if "as_tensor" not in value:
            raise ModelError(
                f"the .pt2 file's program takes or gives {next(iter(value))!r}",
                hint="Export it with tensors alone as inputs and outputs; bind the others in a module around it.",
            )


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "TensorMeta": _check_meta,
    "RangeConstraint": _check_range,
    "NamedArgument": _check_argument,
    "Graph": _check_graph,
}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, globalns=dict(vars(schema)))


def _dict(data: Any, where: str) -> dict[str, Any]:
    if isinstance(data, dict):
        return data
    raise ModelError(f"the .pt2 file's {where} is not an object")

"""Recurrent layers from ONNX and to ONNX, whose gates stand in another order and whose directions share a tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.formulas import formula_of
from core.network.checks import describe
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.recurrent import SUFFIXES, Gru, Lstm, Options, Recurrent, Rnn
from core.network.ops.recurrent_activations import KINDS, read
from core.network.ops.weights import emit_weight
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value
from modelpress.problem import ModelError

COMMON = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size", "layout")
W, R, B, LENGTHS, INITIAL, PEEPHOLES = 1, 2, 3, 4, 5, 7
"""Places of the inputs."""


@operator("RNN")
def build_rnn(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    node.only(*COMMON)
    return _built(builder, node, Rnn, _options(node, ["Tanh"]))


@operator("GRU")
def build_gru(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    node.only(*COMMON, "linear_before_reset")
    is_linear = bool(node.attribute("linear_before_reset", 0))
    return _built(builder, node, Gru, _options(node, ["Sigmoid", "Tanh"], linear_before_reset=is_linear))


@operator("LSTM")
def build_lstm(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    node.only(*COMMON, "input_forget")
    is_coupled = bool(node.attribute("input_forget", 0))
    return _built(builder, node, Lstm, _options(node, ["Sigmoid", "Tanh", "Tanh"], input_forget=is_coupled))


def _options(node: OnnxNode, standard: list[str], **special: bool) -> Options:
    direction = node.attribute("direction", "forward")
    if direction not in SUFFIXES:
        raise Unsupported(f"{node.op} in direction {direction}")
    directions, count = len(SUFFIXES[direction]), len(standard)
    names = node.attribute("activations") or [name.encode() for name in standard * directions]
    if len(names) != directions * count:
        raise Unsupported(f"{node.op} with {len(names)} activations where it has {directions * count}")
    found = read(
        [name.decode("utf-8", "replace") for name in names],
        node.attribute("activation_alpha", []),
        node.attribute("activation_beta", []),
    )
    activations = tuple(tuple(found[start : start + count]) for start in range(0, len(found), count))
    return Options(direction, activations, node.attribute("clip"), node.attribute("layout", 0), **special)


def _built(builder: Builder, node: OnnxNode, kind: type[Recurrent], options: Options) -> tuple[Value, ...]:
    """Its layer, which gives the outputs of all steps and each state at the end."""
    weights = {"weight_ih_l0": W, "weight_hh_l0": R}
    inputs, hidden = _sizes(node, len(kind.order), len(SUFFIXES[options.direction]))
    has_peepholes = kind is Lstm and node.given(PEEPHOLES)
    with torch.device("meta"):
        module = kind(inputs, hidden, options, bias=node.given(B), peepholes=has_peepholes)
    for place, suffix in enumerate(module.suffixes):
        for name, position in weights.items():
            weight = reordered(node.tensor(position)[place], kind.order)
            setattr(module, f"{name}{suffix}", builder.parameter(node, position, f"direction {place}", weight))
        if node.given(B):
            for name, bias in zip(("bias_ih_l0", "bias_hh_l0"), node.tensor(B)[place].chunk(2), strict=True):
                setattr(module, f"{name}{suffix}", nn.Parameter(reordered(bias, kind.order)))
        if has_peepholes:
            setattr(module, f"peepholes{suffix}", nn.Parameter(node.tensor(PEEPHOLES)[place].clone()))
    arguments = [node.input(k) if node.given(k) else None for k in (0, *range(LENGTHS, INITIAL + kind.states))]
    while arguments[-1] is None:
        arguments.pop()
    if all(isinstance(value, Constant) for value in arguments if value is not None):
        raise Unsupported(f"{node.op} of constants")
    return builder.unpack(builder.module(module, *arguments, layer=node.layer), 1 + kind.states)


def _sizes(node: OnnxNode, gates: int, directions: int) -> tuple[int, int]:
    """Width of the input and of the hidden state.

    Raises:
        Unsupported: the tensors are not all constant, or contradict one another.
    """
    weight, recurrent = node.tensor(W), node.tensor(R)
    inputs, hidden = weight.shape[-1], recurrent.shape[-1]
    if not hidden:
        raise ModelError(f"{describe(node.proto)} has no hidden units")
    wanted = {
        W: (directions, gates * hidden, inputs),
        R: (directions, gates * hidden, hidden),
        B: (directions, 2 * gates * hidden),
        PEEPHOLES: (directions, 3 * hidden),
    }
    for position, shape in wanted.items():
        if node.given(position) and node.tensor(position).shape != shape:
            raise Unsupported(f"{node.op} whose input {position} has the shape {list(node.tensor(position).shape)}")
    if node.attribute("hidden_size", hidden) != hidden:
        raise Unsupported(f"{node.op} whose hidden_size is not that of its tensors")
    return inputs, hidden


def reordered(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Blocks of the first axis in another order: for each block of the result its place in `tensor`."""
    return tensor.unflatten(0, (len(order), -1))[list(order)].flatten(0, 1)


@emits(Recurrent)
def emit_recurrent(out: Emission, call: Call) -> tuple[str, ...]:
    """The node with the outputs that someone reads."""
    module = call.module
    assert isinstance(module, Recurrent)
    x, *rest = call.inputs
    lengths, *initial = [*rest, *[""] * 3][:4]
    inputs = [x, _matrices(out, call, "weight_ih_l0"), _matrices(out, call, "weight_hh_l0")]
    inputs += [_vectors(out, call, "bias", biases(module)), lengths, *initial[: module.states]]
    if isinstance(module, Lstm):
        inputs.append(
            _vectors(out, call, "peepholes", [module.find(f"peepholes{suffix}") for suffix in module.suffixes])
        )
    while not inputs[-1]:
        inputs.pop()
    names = out.node(module.operator, inputs, outputs=1 + module.states, name=call.base, **attributes(module))
    unread = set(range(len(names))) - {user.args[1] for user in call.node.users}  # pyright: ignore[reportUnhashable]
    out.nodes[-1].output[:] = ["" if place in unread else name for place, name in enumerate(names)]
    return names


def attributes(module: Recurrent) -> dict[str, Any]:
    """The hidden size, and what differs from ONNX's defaults."""
    options = module.options
    functions = [function for one in options.activations for function in one]
    found: dict[str, Any] = {
        "direction": options.direction,
        "activations": [function.name for function in functions],
        "activation_alpha": [one.alpha for one in functions if KINDS[one.name].alpha is not None],
        "activation_beta": [one.beta for one in functions if KINDS[one.name].beta is not None],
        "clip": options.clip,
        "layout": options.layout,
        "input_forget": int(options.input_forget),
        "linear_before_reset": int(options.linear_before_reset),
    }
    defaults = {"direction": "forward", "activations": list(module.standard) * len(module.suffixes)}
    changed = {name: value for name, value in found.items() if value not in (None, 0, [], defaults.get(name))}
    return {"hidden_size": module.hidden_size, **changed}


def biases(module: Recurrent) -> list[Tensor | None]:
    """(2 * gates * hidden,) for each direction, in ONNX's order."""
    found = []
    for suffix in module.suffixes:
        both = [module.find(f"{name}{suffix}") for name in ("bias_ih_l0", "bias_hh_l0")]
        held = [reordered(bias, in_onnx(module)) for bias in both if bias is not None]
        found.append(torch.cat(held) if held else None)
    return found


def in_onnx(module: Recurrent) -> list[int]:
    """For each gate of ONNX its place in torch."""
    return [module.order.index(place) for place in range(len(module.order))]


def _vectors(out: Emission, call: Call, name: str, vectors: Sequence[Tensor | None]) -> str:
    held = [vector for vector in vectors if vector is not None]
    return out.floats(call.names.get(name) or f"{call.layer}.{name}", torch.stack(held)) if held else ""


def _matrices(out: Emission, call: Call, name: str) -> str:
    """Both directions' matrices as one tensor (directions, gates * hidden, columns); tied ones once."""
    module = call.module
    assert isinstance(module, Recurrent)
    wanted = call.names.get(name) or f"{call.layer}.{name}"
    names = [f"{name}{suffix}" for suffix in module.suffixes]
    formulas = [formula_of(module, tensor) for tensor in names]
    if out.dense or not any(formulas):
        tensors = [module.tensor(tensor) for tensor in names]
        key = formulas[0] or tensors[0]
        stacked = [reordered(tensor, in_onnx(module)) for tensor in tensors]
        return out.once(key, False, lambda: out.floats(wanted, torch.stack(stacked)))
    parts = [emit_weight(out, call, tensor) for tensor in names]
    return out.once(formulas[0] or module.tensor(names[0]), True, lambda: _joined(out, module, parts, wanted))


def _joined(out: Emission, module: Recurrent, parts: list[str], name: str) -> str:
    """The matrices of the directions as nodes, which runtimes fold when they load."""
    rows = parts[0] if len(parts) == 1 else out.node("Concat", parts, name=f"{name}/rows", axis=0)
    count, gates, size = len(parts), len(module.order), module.hidden_size
    if gates > 1:
        split = out.node("Reshape", [rows, out.ints(f"{name}/gates", [count, gates, size, -1])], name=f"{name}/split")
        places = out.ints(f"{name}/order", in_onnx(module))
        rows = out.node("Gather", [split, places], name=f"{name}/ordered", axis=1)
    return out.node("Reshape", [rows, out.ints(f"{name}/shape", [count, gates * size, -1])], name=name)

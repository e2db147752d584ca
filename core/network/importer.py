"""Source proto to normal form: one builder per operator, constants folded on the way."""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx import TensorProto
from onnx.helper import make_tensor_type_proto
from torch import Tensor, fx, nn

from core.memory import is_out_of_memory
from core.network import registry
from core.network.checks import describe
from core.network.inner_weights import InnerWeight, take_out
from core.network.limits import MAX_FOLDED_BYTES
from core.network.names import KINDS, SUFFIX, attribute_name, layer_names, unique
from core.network.onnx_node import OnnxNode
from core.network.opaque import OpaqueNode
from core.network.owned import Owned
from core.network.protos import subgraphs
from core.network.reading import Reading
from core.network.registry import BuildFunction
from core.network.runtime import described, is_held
from core.network.source import RANDOM, Source
from core.network.tables import long_axes, looks_trained
from core.network.tensors import is_stored_alike, stored_tensor, to_torch
from core.network.unsigned import check_unsigned
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value
from modelpress.problem import ModelError, ModelTooLarge

OTHER_WAY = {"": "transposed", "transposed": ""}
"""Forms of a matrix, and those of its transpose."""


MALFORMED = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What torch and numpy raise where attributes, constants and shapes do not fit one another."""


class Builder:
    """Builds the normal form of one source.

    Attributes:
        tied: a shared weight's parameter by its key.
        opaque: index of each node that onnxruntime runs, with the reason.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.values: dict[str, Value] = {}
        self.layers = layer_names(source)
        self.tied: dict[tuple[str, str], nn.Parameter] = {}
        self.notes: list[str] = []
        self.opaque: dict[int, str] = {}
        self._owned = Owned()
        self._last_use: dict[str, int] = {}
        self._outputs = {value.name for value in source.outputs}
        self._attributes: set[str] = set()
        self._names = set(source.names)
        self._layer_names = set(self.layers.values())
        self._inner: dict[str, fx.Node] = {}
        self._made: list[fx.Node] = []
        self._folded_bytes = 0
        self._index = -1

    def run(self) -> fx.GraphModule:
        """The whole network; nodes that reach no output are left out."""
        for position, value in enumerate(self.source.inputs):
            node = self.graph.placeholder(f"input_{position}")
            node.meta.update(value=value.name, source=())
            self.values[value.name] = node
        live = sorted(self.source.live(value.name for value in self.source.outputs))
        self._last_use = {name: index for index in live for name in self.source.needs(index)}
        for index in live:
            self._build(index)
            self._forget(index)
        outputs = [self._operand(self._value(value.name), trainable=False) for value in self.source.outputs]
        self.graph.output(tuple(outputs)).meta.update(value=None, source=())
        self._drop_unused()
        module = fx.GraphModule(self.root, self.graph, class_name="NormalForm").eval()
        self.source.reading = Reading(module, self._owned)
        return module

    # what builders call

    def call(self, function: Callable[..., Any], *args: Value | None, **kwargs: Any) -> Value:
        """A call of a module-level function; computed at once where all tensors are constant."""
        if args and all(isinstance(arg, Constant) or arg is None for arg in args):
            tensors = [arg.tensor if isinstance(arg, Constant) else None for arg in args]
            try:
                return self._fold(function(*tensors, **kwargs))
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                raise Unsupported(f"torch can't compute it: {error}") from error
        operands = tuple(None if arg is None else self._operand(arg, self._is_learned(function, arg)) for arg in args)
        return self._add(self.graph.create_node("call_function", function, operands, kwargs))

    def module(self, module: nn.Module, *args: Value | None, layer: str | None = None, kind: str = "") -> Value:
        """A call of a module. A layer is a module with weights, known by name."""
        operands = tuple(None if arg is None else self._operand(arg, trainable=False) for arg in args)
        name = attribute_name(layer or kind or type(module).__name__, self._attributes)
        self.root.add_module(name, module)
        node = self._add(self.graph.create_node("call_module", name, operands))
        if layer is not None:
            node.meta["layer"] = layer
        op = self.source.nodes[self._index].op_type
        node.meta["kind"] = kind or KINDS.get(op, op)
        return node

    def parameter(self, node: OnnxNode, position: int, form: str = "", tensor: Tensor | None = None) -> nn.Parameter:
        """The weight at a constant input as a parameter; a tie where other layers use the same one alike.

        Args:
            form: what was done to the initialiser; only equal forms can be tied.
            tensor: the weight in that form; the initialiser itself if left out.
        """
        return self._parameter(node.name(position), form, node.tensor(position) if tensor is None else tensor)

    def _parameter(self, name: str, form: str, tensor: Tensor) -> nn.Parameter:
        if tensor.dim() < 2 or not name:
            return nn.Parameter(self.own(tensor))
        root, is_transposed = self.source.origin(name)
        key = (root, OTHER_WAY.get(form, f"{form}, transposed") if is_transposed else form)
        if key not in self.tied:
            self.tied[key] = nn.Parameter(self.own(tensor))
        return self.tied[key]

    def own(self, tensor: Tensor) -> Tensor:
        """`tensor` for a parameter or buffer: contiguous, in memory that nothing else in the network has."""
        return self._owned.take(tensor)

    def unpack(self, value: Value, count: int) -> tuple[Value, ...]:
        """The members of a node that returns a tuple."""
        assert isinstance(value, fx.Node)
        return tuple(
            self._add(self.graph.create_node("call_function", python_operator.getitem, (value, k)))
            for k in range(count)
        )

    def constant(self, tensor: Tensor) -> Constant:
        """A constant that the builder made up."""
        return Constant(tensor, "")

    # one node

    def _build(self, index: int) -> None:
        self._index, self._made = index, []
        node = OnnxNode(self.source, index, self._known(index), self.layers.get(index, ""))
        build = registry.find_builder(node.proto)
        attributes = set(self._attributes)
        try:
            if build is None:
                raise Unsupported("the operator has no torch form")
            self._check_held(index)
            results = self._read(build, node)
        except Unsupported as reason:
            self._undo(attributes)
            self.opaque[index] = str(reason)
            self.notes.append(f"{describe(node.proto)} runs in onnxruntime, without gradient: {reason}")
            results = self._opaque(node)
        self._bind(node, results if isinstance(results, tuple) else (results,))

    def _read(self, build: BuildFunction, node: OnnxNode) -> Value | tuple[Value, ...]:
        """What the builder makes; a node that torch finds malformed is left to onnxruntime to judge."""
        try:
            return build(self, node)
        except MALFORMED as error:
            if is_out_of_memory(error):
                raise
            raise Unsupported(f"torch finds it malformed: {str(error)[:200]}") from error

    def _known(self, index: int) -> dict[str, Value]:
        """The values that a node reads; without initialisers that torch can't hold."""
        names = self.source.needs(index)
        return {name: self._value(name) for name in names if name in self.values or is_held(self.source.type(name))}

    def _check_held(self, index: int) -> None:
        """Raise Unsupported where a value that goes in or comes out is nothing that torch can hold or compute with."""
        names = [*self.source.needs(index), *filter(None, self.source.nodes[index].output)]
        for name in names:
            if not is_held(kind := self.source.type(name)):
                raise Unsupported(f"torch can't hold a {described(kind)}")
        check_unsigned(self.source.nodes[index].op_type, {self.source.element_type(name) for name in names})

    def _value(self, name: str) -> Value:
        if name not in self.values:
            try:
                tensor = to_torch(self.source.initializers[name])
            except Unsupported as reason:
                raise ModelError(f"initialiser {name!r} has the {reason}, which is not handled") from reason
            if is_stored_alike(self.source.initializers[name]):
                self._owned.note(tensor, name)
            self.values[name] = Constant(tensor, name)
        return self.values[name]

    def _forget(self, index: int) -> None:
        """Constants that nothing reads any more need no memory of their own; the network's outputs are read last."""
        for name in self.source.needs(index):
            value = self.values.get(name)
            if self._last_use[name] == index and isinstance(value, Constant) and name not in self._outputs:
                self._owned.forget(value.tensor)
                del self.values[name]

    def _bind(self, node: OnnxNode, results: Sequence[Value]) -> None:
        names = list(node.proto.output)
        for part, made in enumerate(self._made):
            made.meta.update(source=(node.index,), part=part)
            made.meta.setdefault("value", None)
        for name, result in zip(names, results, strict=False):
            if not name:
                continue
            if isinstance(result, Constant):
                result = Constant(result.tensor, name)
            else:
                result.meta["value"] = name
            self.values[name] = result

    def _opaque(self, node: OnnxNode) -> Value | tuple[Value, ...]:
        """The node as onnxruntime runs it."""
        dynamic: dict[str, fx.Node] = {}
        constants: list[TensorProto] = []
        needs = dict.fromkeys(self.source.needs(node.index))
        weights: dict[str, TensorProto] = {}
        running = None
        if any(isinstance(self.values.get(name), fx.Node) for name in needs) and any(subgraphs(node.proto)):
            running, weights = take_out(node.proto, self.source.initializers, self._names)
        for name in needs:
            value = self.values.get(name)
            if isinstance(value, fx.Node):
                dynamic[name] = value
            elif name in weights:
                continue
            elif name in self.source.initializers:
                constants.append(self.source.initializers[name])
            elif isinstance(value, Constant):
                constants.append(stored_tensor(name, value.tensor, self.source.element_type(name)))
        types = {name: self.source.type(name) for name in dynamic}
        for name, tensor in weights.items():
            dynamic[name] = self._inner_weight(node, name, tensor)
            types[name] = make_tensor_type_proto(tensor.data_type, None)
        module = OpaqueNode(node.proto, constants, types, self.source.model, running)
        if not dynamic and node.op not in RANDOM:
            results = module()
            results = results if isinstance(results, tuple) else (results,)
            if all(isinstance(one, Tensor) for one in results):
                return _spread([self._fold(one) for one in results], node)
        count = sum(1 for name in node.proto.output if name)
        call = self.module(module, *dynamic.values(), kind=node.op)
        return _spread((call,) if count == 1 else self.unpack(call, count), node)

    def _inner_weight(self, node: OnnxNode, name: str, tensor: TensorProto) -> fx.Node:
        """A layer that gives out a weight of the node's branches; one for all nodes that capture the same."""
        if name not in self._inner:
            held = self._value(name) if name in self.source.initializers else Constant(to_torch(tensor), name)
            assert isinstance(held, Constant)
            module = InnerWeight(self._parameter(name, "", held.tensor), tensor.data_type)
            layer = unique(name.removesuffix(SUFFIX), self._layer_names)
            made = self.module(module, layer=layer, kind=node.op)
            assert isinstance(made, fx.Node)
            made.meta["value"] = name
            self._inner[name] = made
        return self._inner[name]

    def _undo(self, attributes: set[str]) -> None:
        for made in reversed(self._made):
            if made.op in ("call_module", "get_attr"):
                delattr(self.root, str(made.target))
            self.graph.erase_node(made)
        self._made = []
        self._attributes = attributes

    # nodes and constants

    def _add(self, node: fx.Node) -> fx.Node:
        self._made.append(node)
        return node

    def _fold(self, tensor: Any) -> Any:
        if isinstance(tensor, tuple):
            return tuple(self._fold(one) for one in tensor)
        self._folded_bytes += tensor.numel() * tensor.element_size()
        if self._folded_bytes > MAX_FOLDED_BYTES:
            raise ModelTooLarge("the model computes constants without end", hint="Fold its constants before uploading.")
        return Constant(tensor, "")

    def _operand(self, value: Value, trainable: bool) -> fx.Node:
        """A tensor argument; constants become parameters or buffers of the graph.

        Equal vectors that several functions share are cloned, as exporters merge equal constants; matrices stay
        shared.
        """
        if isinstance(value, fx.Node):
            return value
        tensor = value.tensor
        name = attribute_name(value.name or "constant", self._attributes)
        if trainable:
            is_matrix = long_axes(tensor.numpy()) > 1
            weight = self._parameter(value.name, "", tensor) if is_matrix else nn.Parameter(self.own(tensor))
            self.root.register_parameter(name, weight)
        else:
            self.root.register_buffer(name, self.own(tensor))
        node = self._add(self.graph.create_node("get_attr", name))
        node.meta["value"] = value.name or None
        return node

    def _is_learned(self, function: Callable[..., Any], value: Value) -> bool:
        """Whether an argument is a parameter: of a product, along one axis of arithmetic, or a table that looks it.

        A vector of a product that was given more axes is none: rotary frequencies are written so.
        """
        if not isinstance(value, Constant) or not value.tensor.is_floating_point():
            return False
        array = value.tensor.numpy()
        match long_axes(array):
            case 0:
                return False
            case 1 if function in registry.ARITHMETIC and (array.ndim == 1 or function not in registry.PRODUCTS):
                return True
            case axes if axes > 1 and function in registry.PRODUCTS:
                return True
        return function in registry.TABLES and self.source.is_stored(value.name) and looks_trained(array)

    def _drop_unused(self) -> None:
        for node in reversed(list(self.graph.nodes)):
            if node.users or node.op in ("placeholder", "output"):
                continue
            if node.op in ("call_module", "get_attr"):
                delattr(self.root, str(node.target))
            self.graph.erase_node(node)


def reading_of(source: Source) -> Reading:
    """How `source` was read when it was imported; read now if it never was."""
    if source.reading is None:
        Builder(source).run()
    assert source.reading is not None
    return source.reading


def _spread(results: Sequence[Value], node: OnnxNode) -> tuple[Value, ...]:
    """Results at the positions of the outputs that have names."""
    rest = iter(results)
    filler = Constant(torch.zeros(0), "")
    return tuple(next(rest) if name else filler for name in node.proto.output)

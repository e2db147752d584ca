"""A network: ONNX at the boundary, torch inside, nothing lost in between."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto, TypeProto
from torch import Tensor, fx, nn

from core.network import batching, checkpoint
from core.network.axes import Axes
from core.network.checks import check_model
from core.network.exporter import Export, export, output_nodes
from core.network.finite import check_finite
from core.network.importer import Builder
from core.network.layer import Layer, kind_of
from core.network.names import attribute_name
from core.network.opaque import is_opaque
from core.network.planes import shape_plane
from core.network.read import read_model
from core.network.runtime import is_held
from core.network.source import Source
from core.network.tensors import compute_type
from modelpress.problem import StepError


class Network:
    """The source as it was read, and the normal form that techniques change.

    The normal form (`graph`, a torch.fx.GraphModule) takes the inputs in order and returns a tuple of outputs:
    a placeholder per input; call_module for what owns weights (torch.nn's own layers), for Dropout and for opaque
    nodes; call_function of module-level functions in `core.network.ops`, tensors positional, literals by keyword;
    get_attr for other constants. Each node's meta holds `value` (its ONNX name), `source` (index of the source node
    it came from, empty for new ones), `part` (which of that node's nodes), and for layers `layer` and `kind`.
    """

    def __init__(self, source: Source, graph: fx.GraphModule, notes: Collection[str] = ()) -> None:
        self._source = source
        self.graph = graph
        self.notes = list(notes)
        self.device = torch.device("cpu")

    @classmethod
    def from_onnx(cls, path: Path) -> Network:
        """Read a model file that may be hostile.

        Raises:
            ModelError: or a subclass that says what is wrong with it.
        """
        return cls._from_checked(read_model(path))

    @classmethod
    def from_proto(cls, proto: ModelProto) -> Network:
        """A network from a model without external data; checked just the same."""
        return cls._from_checked(check_model(proto))

    @classmethod
    def _from_checked(cls, proto: ModelProto) -> Network:
        source = Source(proto)
        builder = Builder(source)
        network = cls(source, builder.run(), builder.notes)
        check_finite(network.graph)
        return network

    @property
    def source(self) -> ModelProto:
        return self._source.proto

    @property
    def index(self) -> Source:
        """The source with its index: producers, constants, known shapes."""
        return self._source

    @property
    def input_names(self) -> list[str]:
        return [value.name for value in self._source.inputs]

    @property
    def output_names(self) -> list[str]:
        return [value.name for value in self._source.outputs]

    # out

    def export(self, *, dense: bool = False, edges: bool = True) -> Export:
        """The model and the notes on how it was written; see `exporter.export`."""
        return export(self.graph, self._source, dense=dense, edges=edges)

    def to_proto(self) -> ModelProto:
        """The network as ONNX; the source itself where nothing was changed."""
        return self.export().proto()

    def to_onnx(self, path: Path) -> None:
        """Write the file; weights beyond protobuf's 2 GiB go into a data file beside it."""
        self.export().write(path)

    def save(self, folder: Path) -> None:
        """Write everything as data; see `checkpoint`."""
        checkpoint.save(self, folder)

    @classmethod
    def load(cls, folder: Path) -> Network:
        """Read what `save` wrote, checking it as a hostile file."""
        return checkpoint.load(folder, cls)

    def copy(self) -> Network:
        """A network with tensors of its own."""
        twin = Network(self._source, copy.deepcopy(self.graph), self.notes)
        twin.device = self.device
        return twin

    # running

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name. Floats are computed in fp32, whatever the file stores."""
        return dict(zip(self.output_names, self.graph(*self.arguments(inputs)), strict=True))

    __call__ = forward

    def arguments(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The inputs in the order and of the type in which `graph` takes them.

        Raises:
            StepError: an input is missing, or a value is given for one that has a default, which is a constant here.
        """
        if missing := [name for name in self.input_names if name not in inputs]:
            raise StepError(f"no values for the inputs {', '.join(missing)}")
        if given := [name for name in inputs if name in self._source.initializers]:
            raise StepError(f"the input {given[0]} has a default value, which is a constant here: leave it out")
        nodes = self.graph.graph.find_nodes(op="placeholder")
        values = zip(nodes, self._source.inputs, strict=True)
        return [self._argument(node, inputs[value.name], value.type) for node, value in values]

    def _argument(self, node: fx.Node, given: Any, kind: TypeProto) -> Any:
        """What only onnxruntime reads keeps all its digits."""
        if not isinstance(given, Tensor) or not is_held(kind):
            return given
        if given.dtype == torch.float64 and all(is_opaque(self.graph, user) for user in node.users):
            return given.to(self.device)
        return given.to(self.device, compute_type(kind.tensor_type.elem_type))

    def train_graph(self, example: Mapping[str, Tensor] | None = None) -> fx.GraphModule:
        """A graph on the same modules that takes batches of any size; see `batching`."""
        arguments = None if example is None else self.arguments(example)
        return batching.batched(self.graph, self._source, arguments, self.device)

    def sample_axes(self) -> Axes:
        """Where the file's inputs have their samples; see `axes`."""
        return batching.sample_axes(self.graph, self._source, self.device)

    def to(self, device: torch.device | str) -> Network:
        """Move the tensors; those of the shape plane stay on the CPU. Parameters keep their identity."""
        self.device = torch.device(device)
        plane = {str(node.target) for node in shape_plane(self.graph) if node.op == "get_attr"}
        held = {name: self.graph._buffers[name] for name in plane & self.graph._buffers.keys()}
        self.graph.to(self.device)
        for name, tensor in held.items():
            self.graph._buffers[name] = tensor
        return self

    # layers

    def layers(self, *, having: str | None = None, kinds: Collection[str] | None = None) -> list[Layer]:
        """Layers in graph order.

        Args:
            having: only layers with this tensor, and `weight` only where it has two dimensions or more.
            kinds: only layers of these ONNX operators.
        """
        found = [Layer.of(node, self.graph) for node in self.graph.graph.nodes if node.meta.get("layer")]
        if kinds is not None:
            found = [layer for layer in found if layer.kind in kinds]
        return [layer for layer in found if having is None or _has(layer, having)]

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            StepError: there is none; close names are in the hint.
        """
        layers = {layer.name: layer for layer in self.layers()}
        if name not in layers:
            close = difflib.get_close_matches(name, layers, n=3, cutoff=0.4)
            hint = f"Did you mean {', '.join(close)}?" if close else f"There are {', '.join(list(layers)[:10])}."
            raise StepError(f"there is no layer {name!r}", hint=hint)
        return layers[name]

    def tied(self, layer: Layer) -> list[Layer]:
        """All layers that share this one's weight, itself among them, in graph order."""
        modules = layer.tied_modules()
        return [other for other in self.layers() if any(other.module is module for module in modules)]

    # changing

    def replace(self, layer: Layer, parts: Mapping[str, nn.Module]) -> list[Layer]:
        """Put a chain of modules in a layer's place; they are layers called `name/part`.

        Args:
            parts: in the order in which they are computed.
        """
        graph, value = self.graph.graph, layer.node
        made: list[fx.Node] = []
        with graph.inserting_before(layer.node):
            current = layer.node.args
            for part, module in parts.items():
                node = self._call(module, current, f"{layer.name}/{part}", layer.kind)
                made.append(node)
                current = (node,)
        made[-1].meta["value"] = value.meta.get("value")
        value.replace_all_uses_with(made[-1])
        self.remove(value)
        self.graph.recompile()
        return [Layer.of(node, self.graph) for node in made if "layer" in node.meta]

    def _call(self, module: nn.Module, arguments: tuple[Any, ...], name: str, like: str) -> fx.Node:
        target = self.add_module(name, module.to(self.device).eval())
        node = self.graph.graph.call_module(target, arguments)
        node.meta.update(value=f"{name}/output", source=(), kind=kind_of(module, like))
        if next(module.parameters(recurse=False), None) is not None:
            node.meta["layer"] = name
        return node

    def add_module(self, name: str, module: nn.Module) -> str:
        """Own a module under a flat attribute name made from `name`; returns it."""
        target = attribute_name(name, {*self.graph._modules, *self.graph._parameters, *self.graph._buffers})
        self.graph.add_module(target, module)
        return target

    def remove(self, node: fx.Node) -> None:
        """Take out a node that nothing uses, and the module or tensor that only it used."""
        self.graph.graph.erase_node(node)
        if node.op in ("call_module", "get_attr"):
            others = [other for other in self.graph.graph.nodes if other.op == node.op and other.target == node.target]
            if not others:
                delattr(self.graph, str(node.target))

    def find(self, value: str) -> fx.Node | None:
        """The node that stands for an ONNX value."""
        found = (node for node in self.graph.graph.nodes if node.op != "output" and node.meta.get("value") == value)
        return next(found, None)

    def insert_after(self, value: str | fx.Node, module: nn.Module, name: str = "quantized") -> fx.Node:
        """Put a module on the edges that leave a value: all that used the value use the module's result.

        The module writes itself by `emit(out, value, name) -> name`. It may sit on several edges.

        Raises:
            StepError: no node makes that value.
        """
        node = self.find(value) if isinstance(value, str) else value
        if node is None:
            raise StepError(f"nothing in the network makes the value {value!r}")
        label = f"{node.meta.get('value') or node.name}/{name}"
        known = [key for key, other in self.graph.named_children() if other is module]
        target = known[0] if known else self.add_module(label, module.to(self.device))
        with self.graph.graph.inserting_after(node):
            edge = self.graph.graph.call_module(target, (node,))
        edge.meta.update(value=label, source=(), edge=True)
        node.replace_all_uses_with(edge, delete_user_cb=lambda user: user is not edge)
        self.graph.recompile()
        return edge

    def become(self, other: Network) -> None:
        """Take another network's place inside the same interface.

        Raises:
            StepError: its inputs and outputs are not the same in name, type and axes.
        """
        mine, its = _interface(self._source), _interface(other._source)
        if mine != its:
            raise StepError(f"the other network takes and gives {its}, where this one has {mine}")
        self._source, self.graph, self.notes = other._source, other.graph, other.notes
        self.to(self.device)

    def outputs(self) -> list[fx.Node]:
        """The nodes that the network gives out."""
        return output_nodes(self.graph)


def _has(layer: Layer, tensor: str) -> bool:
    if tensor == "weight":
        return getattr(layer.module, layer.tensor, None) is not None and layer.weight.dim() > 1
    return getattr(layer.module, tensor, None) is not None


def _interface(source: Source) -> list[tuple[str, int, str]]:
    """Name, element type and shape of each input and output."""
    values = [*source.inputs, *source.outputs]
    return [(value.name, value.type.tensor_type.elem_type, str(source.declared(value))) for value in values]

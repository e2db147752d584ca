"""Normal form to ONNX: untouched nodes as they came, changed ones from their tensors and literals."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto
from torch import Tensor, fx

from core.network import registry
from core.network.checks import copy_fields
from core.network.emission import Emission
from core.network.importer import reading_of
from core.network.inner_weights import InnerWeight
from core.network.matching import Group, Match, Matcher, attribute, is_from_source, is_member
from core.network.names import WEIGHTED, tell_apart, unique
from core.network.protos import renamed_copy
from core.network.registry import Call
from core.network.source import Source
from core.network.tensors import raw_bytes, storage_array
from core.network.upgrade import raise_opset
from core.network.write import without, write_model
from modelpress.problem import UnsoundError

SLOTS = {
    "Conv": {"weight": 1, "bias": 2},
    "ConvTranspose": {"weight": 1, "bias": 2},
    "DeformConv": {"weight": 1, "bias": 3},
    "Gemm": {"weight": 1, "bias": 2},
    "MatMul": {"weight": 1},
    "BatchNormalization": {"weight": 1, "bias": 2, "running_mean": 3, "running_var": 4},
    "LayerNormalization": {"weight": 1, "bias": 2},
    "Gather": {"weight": 0},
    "RNN": {"weight_ih_l0": 1, "weight_hh_l0": 2, "bias": 3},
    "GRU": {"weight_ih_l0": 1, "weight_hh_l0": 2, "bias": 3},
    "LSTM": {"weight_ih_l0": 1, "weight_hh_l0": 2, "bias": 3, "peepholes": 7},
    "GroupNormalization": {"weight": 1, "bias": 2},
    "RMSNormalization": {"weight": 1},
    "SimplifiedLayerNormalization": {"weight": 1},
    "SkipLayerNormalization": {"weight": 2, "bias": 3},
    "SkipSimplifiedLayerNormalization": {"weight": 2},
    "FusedConv": {"weight": 1, "bias": 2},
    "FusedGemm": {"weight": 1, "bias": 2},
    "FusedMatMul": {"weight": 1},
    "TransposeMatMul": {"weight": 1},
    "MatMulNBits": {"weight": 1, "scales": 2, "zeros": 3, "bias": 5},
    "Attention": {"weight": 1, "bias": 2},
}
"""At which input of its source node each tensor of a layer is."""

CALLS = ("call_module", "call_function")
FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class Export:
    """What came out. It is to be used before the network changes.

    Attributes:
        model: without the numbers of those initialisers that are in `held`, unless it is the source itself.
        names: what the nodes' values are called.
        held: tensors of the network, by the name of the initialiser that they are written as.
        notes: for the user, on how it was written.
    """

    model: ModelProto
    names: dict[fx.Node, str]
    held: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)

    def proto(self) -> ModelProto:
        """The model with all its numbers."""
        for tensor in self.model.graph.initializer:
            if tensor.name in self.held and not tensor.HasField("raw_data"):
                tensor.raw_data = raw_bytes(self.held[tensor.name], tensor.data_type).tobytes()
        return self.model

    def write(self, path: Path) -> None:
        """The file; weights beyond protobuf's 2 GiB go into a data file beside it."""
        write_model(self.model, path, self.held)


def export(graph: fx.GraphModule, source: Source, *, dense: bool = False, edges: bool = True) -> Export:
    """Write the network.

    Args:
        dense: weights as plain numbers instead of their formulas.
        edges: with the modules that were inserted on edges, such as quantisers.

    Returns:
        The source's own proto where nothing was changed.
    """
    writer = Exporter(graph, source, dense=dense, edges=edges)
    if writer.is_unchanged():
        return Export(source.proto, writer.names, writer.matcher.held)
    made = writer.run()
    needed = writer.out.min_opset
    if needed <= source.opset:
        return made
    raised = raise_opset(source, needed)
    if raised is not None:
        found = _export_raised(graph, raised, dense=dense, edges=edges)
        if found is not None:
            return found
    if not dense:
        plain = export(graph, source, dense=True, edges=edges)
        note = f"weights are written as plain numbers: the model can't be raised from opset {source.opset} to {needed}"
        return replace(plain, notes=[*plain.notes, note])
    raise UnsoundError(f"the network needs opset {needed}, and the model can't be raised from {source.opset}")


def _export_raised(graph: fx.GraphModule, raised: Source, *, dense: bool, edges: bool) -> Export | None:
    """The export on a source of a newer opset; None where the conversion turned a node into one we can't match."""
    writer = Exporter(graph, raised, dense=dense, edges=edges)
    try:
        made = writer.run()
    except UnsoundError:
        return None
    return made if writer.out.min_opset <= raised.opset else None


def _defaults_note(source: Source) -> list[str]:
    """Inputs with a default value were constants to every step; in a changed network nothing may set them any more."""
    names = [value.name for value in source.model.graph.input if value.name in source.initializers]
    if not names:
        return []
    shown = ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")
    return [f"{len(names)} inputs that had default values are plain constants now: {shown}"]


class Exporter:
    """One export. `names` holds the value name of every node that is written."""

    def __init__(self, graph: fx.GraphModule, source: Source, *, dense: bool, edges: bool) -> None:
        self.graph, self.source, self.edges = graph, source, edges
        self.matcher = Matcher(graph, reading_of(source), source)
        self.outputs = [self._through(node) for node in output_nodes(graph)]
        self.nodes = self._live()
        self.groups = self.matcher.groups(self.nodes)
        self.names: dict[fx.Node, str] = {}
        self.needed = self._needed_constants()
        self.constant_nodes = sorted(source.live(self.needed))
        self.stored = self.needed | {name for index in self.constant_nodes for name in source.needs(index)}
        self._name_values()
        taken = {*self.names.values(), *self.stored, *(value.name for value in [*source.inputs, *source.outputs])}
        self._given_names = set(self.names.values())
        self.float_type = float_type(source)
        self.out = Emission(source.opset, self.float_type, taken, dense)
        self._constants: dict[str, str] = {}

    def is_unchanged(self) -> bool:
        """Whether the source says all that the graph says."""
        same = all(
            group.is_as_read and all(self._is_named(node, name) for name, node in group.renamed.items())
            for group in self.groups.values()
        )
        fresh = [node for node in self.nodes if node.op != "placeholder" and not self._is_known(node)]
        outputs = [value.name for value in self.source.outputs]
        return same and not fresh and [node.meta.get("value") for node in self.outputs] == outputs

    def run(self) -> Export:
        last = {group.body[-1]: group for group in self.groups.values() if group.match is not Match.CHANGED}
        for node in self.nodes:
            if node in last:
                self._emit_group(last[node])
            elif node.op in CALLS and self._is_changed(node):
                self._emit_node(node)
        self._emit_outputs()
        return Export(self._assemble(), self.names, self.held, [*self.out.notes, *_defaults_note(self.source)])

    # which nodes

    def _through(self, node: fx.Node) -> fx.Node:
        """The node itself, or what it passes on if modules on edges are left out."""
        while not self.edges and is_edge(node):
            node = node.all_input_nodes[0]
        return node

    def _arguments(self, node: fx.Node) -> list[fx.Node]:
        return [self._through(argument) for argument in node.all_input_nodes]

    def _live(self) -> list[fx.Node]:
        found: set[fx.Node] = set()
        waiting = list(self.outputs)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting.extend(self._arguments(node))
        return [node for node in self.graph.graph.nodes if node in found]

    def _is_known(self, node: fx.Node) -> bool:
        """A constant without a name was compared with the node that it is an argument of."""
        if node.op == "get_attr":
            return node.meta.get("value") is None or self.matcher.is_as_read(node)
        return is_from_source(node)

    def _is_changed(self, node: fx.Node) -> bool:
        return not is_from_source(node) or self.groups[node.meta["source"][0]].match is Match.CHANGED

    def _is_named(self, node: fx.Node, name: str) -> bool:
        node = self._through(node)
        is_same = node.op != "get_attr" or self.matcher.is_as_read(node)
        return is_same and node.meta.get("value") == name

    # names

    def _needed_constants(self) -> set[str]:
        """Source constants that are used as they are."""
        needed = {name for group in self.groups.values() if group.match is Match.SAME for name in group.kept}
        for group in self.groups.values():
            if group.match is Match.TENSORS:
                node = self.source.nodes[group.index]
                own = {node.input[k] for k in SLOTS.get(node.op_type, {}).values() if k < len(node.input)}
                needed.update(name for name in group.kept if name not in own)
        for node in self.nodes:
            if node.op in CALLS and self._is_changed(node):
                needed.update(self._kept(self._arguments(node)))
        return needed.union(*(self._kept([node]) for node in self.outputs))

    def _kept(self, nodes: list[fx.Node]) -> set[str]:
        """Names of the source constants among `nodes` that are what they were."""
        return {name for node in nodes if node.op == "get_attr" and (name := self._kept_name(node)) is not None}

    def _kept_name(self, node: fx.Node) -> str | None:
        return node.meta["value"] if self.matcher.is_kept(node) else None

    def _name_values(self) -> None:
        """Inputs and outputs keep their names, then whoever comes first."""
        self.names.update({node: node.meta["value"] for node in self.nodes if node.op == "placeholder"})
        taken = {value.name for value in self.source.outputs} | self.stored | set(self.names.values())
        for value, node in zip(self.source.outputs, self.outputs, strict=True):
            if node.op != "get_attr" and node not in self.names:
                self.names[node] = value.name
        same = [node for group in self.groups.values() if group.match is Match.SAME for node in group.nodes]
        self.names.update({node: node.meta["value"] for node in same if node.meta["value"] in self.stored})
        fresh: list[fx.Node] = []
        for node in self.nodes:
            wanted = node.meta.get("value")
            if node in self.names or node.op in ("get_attr", "output"):
                continue
            if isinstance(wanted, str) and wanted not in taken:
                self.names[node] = unique(wanted, taken)
            else:
                fresh.append(node)
        taken.update(self.source.producer, self.source.initializers)
        for node in fresh:
            layer = node.meta.get("layer")
            wanted = node.meta.get("value") or (f"{layer}/output" if layer else node.name)
            self.names[node] = unique(wanted, taken)

    def name_of(self, node: fx.Node) -> str:
        """Name of the value that a node stands for; constants are stored on first use."""
        node = self._through(node)
        if node.op != "get_attr":
            return self.names[node]
        target = str(node.target)
        if target not in self._constants:
            tensor = attribute(self.graph, node)
            self._constants[target] = self._kept_name(node) or self.out.once(tensor, False, lambda: self._store(node))
        return self._constants[target]

    def _store(self, node: fx.Node) -> str:
        """Write a constant in the type in which the source has it, or else its readers' floats; returns its name."""
        tensor, wanted = attribute(self.graph, node), node.meta.get("value") or str(node.target)
        kind = self.source.element_type(wanted)
        if kind and kind not in FLOAT_TYPES:
            return self.out.initializer(wanted, storage_array(tensor, kind))
        self.out.float_type = kind or self._float_type(next(iter(node.users)))
        return self.out.constant(wanted, tensor)

    # writing

    def _emit_group(self, group: Group) -> None:
        source_node = self.source.nodes[group.index]
        inputs = {name: self.name_of(node) for name, node in group.renamed.items()}
        outputs = {node.meta["value"]: self.names[node] for node in group.nodes if node.meta.get("value")}
        copy = renamed_copy(source_node, inputs, self._free_outputs(source_node, outputs))
        if group.match is Match.TENSORS:
            self._emit_layer(group, copy)
            return
        layer = next((node.meta["layer"] for node in group.nodes if "layer" in node.meta), None)
        if layer is not None and not copy.name:
            copy.name = layer
        self.out.nodes.append(copy)

    def _free_outputs(self, node: NodeProto, outputs: dict[str, str]) -> dict[str, str]:
        """Outputs that nobody reads get names that nobody has."""
        taken = self._given_names
        unread = {name: self.out.fresh(name) for name in node.output if name and name not in outputs and name in taken}
        return {**outputs, **unread}

    def _emit_layer(self, group: Group, copy: NodeProto) -> None:
        """The source node's attributes with the layer's present tensors."""
        node = next(node for node in group.nodes if node.op == "call_module")
        inputs = self._input_names(node) if len(group.body) == 1 else [copy.input[0]]
        self._call(node, inputs, base=copy.output[0], template=copy)

    def _emit_node(self, node: fx.Node) -> None:
        if is_member(node):
            return  # named by the tuple it is taken from
        self._call(node, self._input_names(node), self.names[node])

    def _input_names(self, node: fx.Node) -> list[str]:
        return [self.name_of(argument) if argument is not None else "" for argument in flat_arguments(node)]

    def _call(self, node: fx.Node, inputs: list[str], base: str, template: NodeProto | None = None) -> None:
        module = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        self.out.float_type = self._float_type(node)
        if is_edge(node):
            self._emit_edge(node, module, inputs, base)
            return
        emit = registry.find_emitter(module if module is not None else node.target)
        if emit is None:
            raise UnsoundError(f"there is no way to write {node.target} as ONNX")
        layer = node.meta.get("layer", "")
        call = Call(node, module, inputs, dict(node.kwargs), base, layer, self._source_names(node), template)
        start = len(self.out.nodes)
        made = emit(self.out, call)
        self._rename_outputs(node, made if isinstance(made, tuple) else (made,), base, start)
        if layer and not isinstance(module, InnerWeight):
            self._name_layer(layer, start, template)

    def _float_type(self, node: fx.Node) -> int:
        """Storage type of the floats that a node takes, else of those that it gives; the network's where unknown."""
        names = [argument.meta.get("value") for argument in [*self._arguments(node), node]]
        kinds = [self.source.element_type(name) for name in names if isinstance(name, str)]
        return next((kind for kind in kinds if kind in FLOAT_TYPES), self.float_type)

    def _emit_edge(self, node: fx.Node, module: Any, inputs: list[str], base: str) -> None:
        start = len(self.out.nodes)
        made = module.emit(self.out, inputs[0], base)
        self._rename_outputs(node, (made,), base, start)

    def _source_names(self, node: fx.Node) -> dict[str, str]:
        if not is_from_source(node):
            return {}
        source_node = self.source.nodes[node.meta["source"][0]]
        slots = SLOTS.get(source_node.op_type, {})
        names = {tensor: source_node.input[k] for tensor, k in slots.items() if k < len(source_node.input)}
        return {tensor: name for tensor, name in names.items() if name in self.source.constants}

    def _rename_outputs(self, node: fx.Node, made: tuple[str, ...], base: str, start: int) -> None:
        """What the emitter called its results gets the names that the readers use; an initialiser keeps its own."""
        if len(made) == 1 and not any(made[0] in written.output for written in self.out.nodes[start:]):
            self.names[node] = made[0]
            return
        members = {user.args[1]: self.names[user] for user in node.users if is_member(user) and user in self.names}
        wanted = {name: members.get(k, name) if members else base for k, name in enumerate(made)}
        for written in self.out.nodes[start:]:
            written.input[:] = [wanted.get(name, name) for name in written.input]
            written.output[:] = [wanted.get(name, name) for name in written.output]
            written.name = wanted.get(written.name, written.name)

    def _name_layer(self, layer: str, start: int, template: NodeProto | None) -> None:
        """A node of which only numbers changed keeps its name, and what is said of it."""
        for written in reversed(self.out.nodes[start:]):
            if written.op_type in WEIGHTED:
                written.name = layer
                if template is not None and template.input == written.input:
                    written.name = template.name or layer
                    _keep_words(template, written)
                return

    def _emit_outputs(self) -> None:
        for value, node in zip(self.source.outputs, self.outputs, strict=True):
            name = self.name_of(node)
            if name != value.name:
                self.out.nodes.append(NodeProto(op_type="Identity", input=[name], output=[value.name], name=value.name))

    def _assemble(self) -> ModelProto:
        source = self.source.model
        model = ModelProto()
        model.CopyFrom(_without_graph(source))
        model.ir_version = max(source.ir_version, self.out.min_ir, 4)
        graph = model.graph
        kept = {"name", "doc_string", "metadata_props"}
        copy_fields(source.graph, graph, without=set(source.graph.DESCRIPTOR.fields_by_name) - kept)
        graph.input.extend(self.source.inputs)
        graph.output.extend(self.source.outputs)
        graph.node.extend(self.source.nodes[index] for index in self.constant_nodes)
        graph.node.extend(self.out.nodes)
        tell_apart(graph.node)
        graph.initializer.extend(self._initializers())
        return model

    def _initializers(self) -> list[TensorProto]:
        """In the source's order, new ones last."""
        known = self.source.initializers
        for tensor in self.out.initializers:
            if tensor.name in known:
                _keep_words(known[tensor.name], tensor)
        place = {name: number for number, name in enumerate(known)}
        found = [*(self._light(known[name]) for name in known if name in self.stored), *self.out.initializers]
        return sorted(found, key=lambda tensor: place.get(tensor.name, len(place)))

    def _light(self, tensor: TensorProto) -> TensorProto:
        """Without its numbers where the network holds them."""
        return without(tensor, "raw_data") if tensor.name in self.matcher.held else tensor

    @property
    def held(self) -> dict[str, Tensor]:
        return {**self.matcher.held, **self.out.held}


def _without_graph(model: ModelProto) -> ModelProto:
    """What is said of the model as a whole; functions are written inline."""
    bare = ModelProto()
    copy_fields(model, bare, without={"graph", "functions", "training_info"})
    return bare


def _keep_words(source: NodeProto | TensorProto, written: NodeProto | TensorProto) -> None:
    """What its author said of it, of what was written anew."""
    if source.HasField("doc_string"):
        written.doc_string = source.doc_string
    written.metadata_props.extend(source.metadata_props)


def output_nodes(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes that the network gives out, in order."""
    (output,) = graph.graph.find_nodes(op="output")
    return list(output.args[0])


def is_edge(node: fx.Node) -> bool:
    """Whether a node was put on an edge, such as a quantiser."""
    return bool(node.meta.get("edge"))


def flat_arguments(node: fx.Node) -> list[fx.Node | None]:
    """Tensor arguments in order; None for one that is left out."""
    return [argument for argument in node.args if argument is None or isinstance(argument, fx.Node)]


def float_type(source: Source) -> int:
    """The storage type of the network's weights: that of most of its float elements."""
    counts: dict[int, int] = {}
    for tensor in source.initializers.values():
        if tensor.data_type in FLOAT_TYPES:
            size = 1
            for dimension in tensor.dims:
                size *= dimension
            counts[tensor.data_type] = counts.get(tensor.data_type, 0) + size
    return max(counts, key=lambda kind: counts[kind]) if counts else TensorProto.FLOAT

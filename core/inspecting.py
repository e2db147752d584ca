"""Looking at a network once: what `inspect` prints, and what recipes are checked against."""

from collections import Counter
from pathlib import Path

import numpy as np
from torch import fx

from core.interface import Interface, Port, interface_of
from core.measure.costs import Costs, LayerCost
from core.measure.runner import Arrays
from core.network.axes import NEW
from core.network.channels import analyse
from core.network.channels.units import Channels, ParameterAxis
from core.network.layer import Layer
from core.network.names import layer_names, node_name
from core.network.network import Network
from core.network.opaque import OpaqueNode
from core.network.protos import all_nodes
from core.network.registry import is_native
from core.network.samples import example_arguments
from modelpress.inspection import Inspection, LayerInfo, OperatorCount, TensorInfo
from modelpress.problem import FieldProblem, ProblemError, RecipeInvalid
from modelpress.selection import check_recipe
from modelpress.steps import Step


def inspect(network: Network, size: int, scratch: Path) -> Inspection:
    """Everything that is known without data.

    Args:
        size: bytes of the model's files.
        scratch: folder for what onnxruntime writes.
    """
    proto = network.source
    interface = interface_of(proto, network.sample_axes())
    inputs = made_up(network, interface)
    costs = Costs(proto, inputs, scratch, samples=interface.batch or 1)
    channels, notes = channels_of(network)
    layers, others = rows(network, costs, channels)
    return Inspection(
        inputs=[tensor_info(port) for port in interface.inputs],
        outputs=[tensor_info(port) for port in interface.outputs],
        operators=operators(network),
        parameters=costs.parameters,
        macs=costs.macs,
        bytes=size,
        weight_bytes=costs.bytes,
        peak_activation_bytes=costs.peak_activation_bytes,
        counted_on={name: list(array.shape) for name, array in (inputs or {}).items()} if costs.has_run else {},
        prunable=sum(layer.prunable or 0 for layer in layers) if channels else None,
        filters=sum(layer.out_channels or 0 for layer in layers if layer.prunable is not None) if channels else None,
        locks=locks(network, channels) if channels else {},
        opset=network.index.opset,
        ir_version=proto.ir_version,
        producer=" ".join(filter(None, (proto.producer_name, proto.producer_version)))[:200],
        layers=layers,
        others=others,
        notes=[*network.notes, *notes],
    )


def made_up(network: Network, interface: Interface) -> Arrays | None:
    """Inputs of one run; None where a sample would be too big."""
    try:
        axes = [None if port.axis == NEW else port.axis for port in interface.inputs]
        tensors = example_arguments(network.index, batch=interface.batch or 1, axes=axes)
    except ProblemError:
        return None
    return {
        port.name: np.asarray(tensor.numpy()).astype(port.dtype)
        for port, tensor in zip(interface.inputs, tensors, strict=True)
    }


def channels_of(network: Network) -> tuple[Channels | None, list[str]]:
    try:
        return analyse(network), []
    except ProblemError as error:
        return None, [f"channels could not be analysed: {error.detail}"]


def locks(network: Network, channels: Channels) -> dict[str, int]:
    """How many filters can't be removed, by the reason why, the most frequent first."""
    found: Counter[str] = Counter()
    for layer in network.layers():
        if axis := channels.output_axis(str(layer.node.target)):
            reasons = Counter(channels.locked[int(unit)] for unit in axis.ids if int(unit) in channels.locked)
            found.update({reason: filters(layer, axis, rows) for reason, rows in reasons.items()})
    return dict(found.most_common())


def filters(layer: Layer, axis: ParameterAxis, rows: int) -> int:
    """How many output channels some rows of a weight make; a recurrent layer has a row a gate for each."""
    return rows * layer.out_channels // max(1, len(axis.ids))


def tensor_info(port: Port) -> TensorInfo:
    return TensorInfo(name=port.name, type=port.dtype.name, shape=list(port.shape))


def operators(network: Network) -> dict[str, OperatorCount]:
    """How often each operator occurs; native where every one of its nodes is."""
    counts: dict[str, OperatorCount] = {}
    for node in all_nodes(network.index.model):
        entry = counts.setdefault(node.op_type, OperatorCount(count=0, native=True))
        entry.count += 1
    opaque = {module.op_type for module in network.graph.modules() if isinstance(module, OpaqueNode)}
    for name, entry in counts.items():
        entry.native = name not in opaque and any(is_native(n) for n in network.index.nodes if n.op_type == name)
    return dict(sorted(counts.items()))


def rows(network: Network, costs: Costs, channels: Channels | None) -> tuple[list[LayerInfo], list[LayerInfo]]:
    """The network's layers, and the other nodes that hold or multiply; every cost is in exactly one of them."""
    reached = reached_by_gradient(network)
    layers, told = [], set[int]()
    for layer in network.layers():
        index = next((index for index in sources(layer.node) if index not in told), None)
        told |= {index} - {None}
        cost = None if index is None else costs.node(index)
        layers.append(layer_info(layer, cost, channels, layer.node not in reached))
    trained = {index for node in reached for index in sources(node)}
    names = layer_names(costs.source)
    others = [
        other_info(cost, costs, names, cost.node not in trained) for cost in costs.workers() if cost.node not in told
    ]
    return layers, others


def sources(node: fx.Node) -> tuple[int, ...]:
    """Indices of the source's nodes that a node of the normal form came from."""
    return tuple(node.meta.get("source") or ())


def reached_by_gradient(network: Network) -> set[fx.Node]:
    """Nodes from which a path to the outputs crosses no opaque operator."""
    reached: set[fx.Node] = set()
    waiting = list(network.outputs())
    while waiting:
        node = waiting.pop()
        if node not in reached and not is_opaque(network, node):
            reached.add(node)
            waiting.extend(node.all_input_nodes)
    return reached


def is_opaque(network: Network, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(network.graph.get_submodule(str(node.target)), OpaqueNode)


def layer_info(layer: Layer, cost: LayerCost | None, channels: Channels | None, frozen: bool) -> LayerInfo:
    owner = str(layer.node.target)
    axis = channels.output_axis(owner) if channels else None
    free = sum(int(unit) not in channels.locked for unit in axis.ids) if channels and axis else 0
    return LayerInfo(
        name=layer.name,
        type=layer.kind,
        weight_shape=list(layer.weight.shape),
        parameters=cost.parameters if cost else 0,
        macs=cost.macs if cost else None,
        bytes=cost.bytes if cost else 0,
        activation_bytes=cost.activation_bytes if cost else None,
        output_shape=cost.output_shape if cost else None,
        in_channels=layer.in_channels,
        out_channels=layer.out_channels,
        groups=layer.groups,
        prunable=filters(layer, axis, free) if channels and axis else None,
        locked=channels.lock_reason(owner) if channels and axis else None,
        frozen=frozen,
    )


def other_info(cost: LayerCost, costs: Costs, names: dict[int, str], frozen: bool) -> LayerInfo:
    return LayerInfo(
        name=node_name(costs.source, names, cost.node),
        type=cost.op_type,
        weight_shape=None,
        parameters=cost.parameters,
        macs=cost.macs,
        bytes=cost.bytes,
        activation_bytes=cost.activation_bytes,
        output_shape=cost.output_shape,
        frozen=frozen,
    )


def check_step(step: Step, index: int, network: Network) -> None:
    """The layers that a step speaks of are there, now that earlier steps have done their work.

    Raises:
        RecipeInvalid: with pointers into the recipe.
    """
    inspection = Inspection(
        inputs=[],
        outputs=[],
        operators={},
        parameters=0,
        macs=None,
        bytes=0,
        layers=[
            LayerInfo(
                name=layer.name,
                type=layer.kind,
                weight_shape=list(layer.weight.shape),
                parameters=layer.weight.numel(),
                macs=None,
                bytes=0,
                output_shape=None,
                out_channels=layer.out_channels,
            )
            for layer in network.layers()
        ],
    )
    try:
        # A step that may be skipped is one whose failure counts: with nothing to work on it fails.
        check_recipe([step.model_copy(update={"on_failure": "stop"})], inspection)
    except RecipeInvalid as error:
        place = f"/recipe/{index}"
        errors = [
            FieldProblem(pointer=e.pointer.replace("/recipe/0", place, 1), code=e.code, detail=e.detail)
            for e in error.errors
        ]
        raise RecipeInvalid(error.detail.replace("/recipe/0", place), hint=error.hint, errors=errors) from error

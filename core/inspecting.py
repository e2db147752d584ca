"""Looking at a network once: what `inspect` prints, and what recipes are checked against."""

from pathlib import Path

import numpy as np
from torch import fx

from core.data.synthetic import concrete_shape
from core.interface import Interface, Port, interface_of
from core.measure.costs import Costs
from core.measure.runner import Arrays
from core.network.channels import analyse
from core.network.layer import Layer
from core.network.network import Network
from core.network.opaque import OpaqueNode
from core.network.protos import all_nodes
from core.network.registry import is_native
from core.network.units import Channels
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
    interface = interface_of(proto)
    costs = Costs(proto, made_up(interface), scratch)
    channels, notes = channels_of(network)
    return Inspection(
        inputs=[tensor_info(port) for port in interface.inputs],
        outputs=[tensor_info(port) for port in interface.outputs],
        operators=operators(network),
        parameters=costs.parameters,
        macs=costs.macs,
        bytes=size,
        opset=network.index.opset,
        ir_version=proto.ir_version,
        producer=" ".join(filter(None, (proto.producer_name, proto.producer_version)))[:200],
        layers=[layer_info(layer, costs, channels, frozen) for layer, frozen in with_frozen(network)],
        notes=[*network.notes, *notes],
    )


def made_up(interface: Interface) -> Arrays | None:
    """Zeros for one run; None where a sample would be too big."""
    try:
        return {
            port.name: np.zeros((port.batch or 1, *concrete_shape(port))[: len(port.shape)], port.dtype)
            for port in interface.inputs
        }
    except ProblemError:
        return None


def channels_of(network: Network) -> tuple[Channels | None, list[str]]:
    try:
        return analyse(network), []
    except ProblemError as error:
        return None, [f"channels could not be analysed: {error.detail}"]


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


def with_frozen(network: Network) -> list[tuple[Layer, bool]]:
    """Layers in order, and whether no gradient reaches them because every path to the outputs is opaque."""
    reached: set[fx.Node] = set()
    waiting = list(network.outputs())
    while waiting:
        node = waiting.pop()
        if node not in reached and not is_opaque(network, node):
            reached.add(node)
            waiting.extend(node.all_input_nodes)
    return [(layer, layer.node not in reached) for layer in network.layers()]


def is_opaque(network: Network, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(network.graph.get_submodule(str(node.target)), OpaqueNode)


def layer_info(layer: Layer, costs: Costs, channels: Channels | None, frozen: bool) -> LayerInfo:
    source = layer.node.meta.get("source")
    index = source[0] if isinstance(source, tuple) and source else source
    names = costs.uses.get(index, []) if isinstance(index, int) else []
    held = [costs.values[name] for name in names if name in costs.values]
    owner = str(layer.node.target)
    axis = channels.output_axis(owner) if channels else None
    return LayerInfo(
        name=layer.name,
        type=layer.kind,
        weight_shape=list(layer.weight.shape),
        parameters=sum(value.size for value in held),
        macs=costs.node_macs(index) if isinstance(index, int) else None,
        bytes=sum(value.nbytes for value in held),
        output_shape=costs.output_shape(index) if isinstance(index, int) else None,
        in_channels=layer.in_channels,
        out_channels=layer.out_channels,
        groups=layer.groups,
        prunable=sum(int(unit) not in channels.locked for unit in axis.ids) if channels and axis else None,
        locked=channels.lock_reason(owner) if channels and axis else None,
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

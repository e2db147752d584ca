"""A saved network is data, never a pickle.

    network.onnx          the network with plain weights and without quantisers
    formulas.json         which formula computes which layer's tensor
    quantizers.json       which values have a quantiser behind them
    tensors.safetensors   the numbers of formulas and quantisers, and weights that the file stores narrower than fp32
    layers.json           layers in order: name and the value that they make

Loading treats all of it as hostile, since the process that wrote it opened a hostile model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from onnx import TensorProto
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn

from core.formulas import attach, computed, restore, to_config
from core.network.exporter import Export, float_type, is_edge
from core.network.matching import is_member
from core.network.ops.linear import product_name
from core.network.reading import stored
from core.quantizers.activation import ActivationQuantizer
from core.quantizers.links import link_biases
from modelpress.problem import ModelError, StepError

if TYPE_CHECKING:
    from core.network.network import Network

NETWORK, FORMULAS, QUANTIZERS = "network.onnx", "formulas.json", "quantizers.json"
TENSORS, LAYERS = "tensors.safetensors", "layers.json"
MAX_JSON_BYTES = 64 * 2**20


def save(network: Network, folder: Path) -> None:
    """Write the files into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    export = network.export(dense=True, edges=False)
    held: dict[str, Tensor] = {}
    _write(folder / FORMULAS, _save_formulas(network, held))
    _write(folder / QUANTIZERS, _save_quantizers(network, export, held))
    graph = (network.index.model if export.model is network.source else export.model).graph  # with functions inlined
    written = {tensor.name for tensor in graph.initializer}.union(*(node.output for node in graph.node))
    _write(folder / LAYERS, [_layer_entry(layer.node, export, written) for layer in network.layers()])
    if float_type(network.index) != TensorProto.FLOAT:
        held.update(_wide_tensors(network.graph))
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}, folder / TENSORS)
    export.write(folder / NETWORK)


def load(folder: Path, kind: type[Network]) -> Network:
    """Read what `save` wrote.

    Raises:
        ModelError: the files are damaged or contradict one another.
    """
    network = kind.from_onnx(folder / NETWORK)
    try:
        held = load_file(folder / TENSORS)
    except SafetensorError as error:
        raise ModelError(f"the checkpoint's tensors can't be read: {error}") from error
    try:
        _name_layers(network, _read(folder / LAYERS))
        _load_wide(network.graph, held)
        _load_formulas(network, _read(folder / FORMULAS), held)
        _load_quantizers(network, _read(folder / QUANTIZERS), held)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, StepError) as error:
        raise ModelError(f"the checkpoint contradicts itself: {error}") from error
    return network


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1))


def _read(path: Path) -> list[dict[str, Any]]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{path.name} is larger than {MAX_JSON_BYTES:,} bytes")
    data = json.loads(path.read_text())
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise ModelError(f"{path.name} is no list of entries")
    return data


def _layer_entry(node: fx.Node, export: Export, written: set[str]) -> dict[str, str]:
    value = next(name for one in _made(node) if (name := export.names.get(one)) in written)
    product = product_name(value)
    return {"name": node.meta["layer"], "value": product if product in written else value}


def _made(node: fx.Node) -> Iterator[fx.Node]:
    """What stands for a layer's values: the node, or the members of the tuple that it gives, nearest first.

    Then what else its source node makes of them, for a layer may be the inner part of one.
    """
    members = [user for user in node.users if is_member(user)]
    yield from members or [node]
    source = node.meta.get("source")
    for user in [following for one in members or [node] for following in one.users]:
        if source and user.meta.get("source") == source:
            yield from _made(user)


def _name_layers(network: Network, entries: list[dict[str, Any]]) -> None:
    """Layers get back the names they had, whatever the file's own names suggest."""
    layers = [layer.node for layer in network.layers()]
    by_value = {one.meta.get("value"): node for node in layers for one in _made(node)}
    for entry in entries:
        by_value[entry["value"]].meta["layer"] = str(entry["name"])


# formulas: one entry each, with all the layers that share it


def _save_formulas(network: Network, held: dict[str, Tensor]) -> list[dict[str, Any]]:
    entries: dict[int, dict[str, Any]] = {}
    for layer in network.layers():
        for tensor, formula in computed(layer.module).items():
            if id(formula) not in entries:
                held.update({f"formula.{len(entries)}.{key}": value for key, value in formula.state_dict().items()})
                entries[id(formula)] = {"formula": to_config(formula), "layers": []}
            entries[id(formula)]["layers"].append([layer.name, tensor])
    return list(entries.values())


def _load_formulas(network: Network, entries: list[dict[str, Any]], held: dict[str, Tensor]) -> None:
    layers = {layer.name: layer for layer in network.layers()}
    for number, entry in enumerate(entries):
        formula = restore(entry["formula"], _under(held, f"formula.{number}."))
        for name, tensor in entry["layers"]:
            module = layers[name].module
            plain = module._parameters.get(tensor)
            if plain is None or formula().shape != plain.shape:
                raise ModelError(f"the formula of {name}.{tensor} does not fit the layer")
            attach(module, formula, tensor)


# quantisers: one entry each, with all the values it sits behind


def _save_quantizers(network: Network, export: Export, held: dict[str, Tensor]) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for node in filter(is_edge, network.graph.graph.nodes):
        module = network.graph.get_submodule(str(node.target))
        assert isinstance(module, ActivationQuantizer)
        if str(node.target) not in entries:
            held.update({f"quantizer.{len(entries)}.{key}": value for key, value in module.state_dict().items()})
            entries[str(node.target)] = {"quantizer": module.config(), "values": []}
        entries[str(node.target)]["values"].append(export.names[node.all_input_nodes[0]])
    return list(entries.values())


def _load_quantizers(network: Network, entries: list[dict[str, Any]], held: dict[str, Tensor]) -> None:
    for number, entry in enumerate(entries):
        module = ActivationQuantizer.from_config(entry["quantizer"])
        module.load_state_dict(_under(held, f"quantizer.{number}."))
        module.check()
        for value in entry["values"]:
            network.insert_after(str(value), module.eval())
    link_biases(network.graph)


def _under(held: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in held.items() if name.startswith(prefix)}


# fp32 masters of what the file stores narrower


def _wide_tensors(graph: fx.GraphModule) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in _learned(graph):
        yield f"wide.{key}", tensor()


def _load_wide(graph: fx.GraphModule, held: dict[str, Tensor]) -> None:
    wide = _under(held, "wide.")
    for key, learned in _learned(graph):
        if key in wide:
            with torch.no_grad():
                learned().copy_(wide[key])


def _learned(graph: fx.GraphModule) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """A key and a way to get it for each float tensor that the network learns, in layers and alone."""
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.meta.get("layer"):
            module: nn.Module = graph.get_submodule(str(node.target))
            for name, _ in list(stored(module)):
                yield f"{node.meta['layer']}.{name}", partial(getattr, module, name)
        elif node.op == "get_attr" and str(node.target) in graph._parameters and node.meta.get("value"):
            yield f"constant.{node.meta['value']}", partial(getattr, graph, str(node.target))

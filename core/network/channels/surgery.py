"""Surgery: remove units for real, or only zero them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from core.formulas.reparametrise import formula_of
from core.network.channels.identities import kept_positions, unit_mask
from core.network.channels.units import Channels, Drop, Indices, Literal, ParameterAxis, Pick
from core.network.network import Network
from core.network.ops.computed_sizes import place_of_shape, with_shares, with_sizes
from core.network.ops.shape import expand, expand_to, take

Done = dict[tuple[int, int], object]
"""(id of a tensor or formula, axis) already cut, with the object itself: an id is only its own while it lives."""


def remove_units(network: Network, channels: Channels, units: Iterable[int]) -> None:
    """Cut units out of every tensor and rewrite every literal that counts them, in place.

    Args:
        channels: the analysis of this very network; it is stale afterwards.
        units: units that are not locked, and that keep every balance.
    """
    removed = unit_mask(units, channels.count)
    done: Done = {}
    for axis in channels.axes:
        _cut(network.graph, axis, removed, done)
    for owner in {axis.owner for axis in channels.axes if axis.owner}:
        _settle(network.graph.get_submodule(owner))
    for literal in channels.literals:
        _recount(network, literal, removed)
    for indices in channels.indices:
        _renumber(indices, removed)
    instead: dict[fx.Node, fx.Node] = {}
    for pick in channels.picks:
        if pick.changes(removed):
            instead[pick.node] = _rewrite(network, pick, instead.get(pick.root, pick.root), removed)
    for drop in channels.drops:
        _leave_out(network, drop, removed)
    network.graph.recompile()


def zero_units(network: Network, channels: Channels, units: Iterable[int]) -> None:
    """Zero every occurrence of the units in the parameters, in place; shapes stay."""
    removed = unit_mask(units, channels.count)
    with torch.no_grad():
        for axis in channels.axes:
            tensor = _tensor(network.graph, axis)
            if axis.parts is not None:
                _zero_parts(tensor, axis.axis, axis.parts, removed)
            else:
                gone = torch.from_numpy(np.flatnonzero(removed[axis.ids])).to(tensor.device)
                tensor.index_fill_(axis.axis, gone, 0.0)


def _zero_parts(weight: Tensor, axis: int, parts: NDArray[np.int64], removed: NDArray[np.bool_]) -> None:
    """Zero what goes along an axis, part by part of the first: of a grouped convolution each group has its own."""
    for rows, ids in zip(weight.chunk(len(parts), dim=0), parts, strict=True):
        rows.index_fill_(axis, torch.from_numpy(np.flatnonzero(removed[ids])).to(weight.device), 0.0)


def _tensor(graph: fx.GraphModule, axis: ParameterAxis) -> Tensor:
    return getattr(graph.get_submodule(axis.owner), axis.tensor)


def _cut(graph: fx.GraphModule, axis: ParameterAxis, removed: NDArray[np.bool_], done: Done) -> None:
    """Select what remains along one axis; a tensor that several layers share is cut once."""
    owner = graph.get_submodule(axis.owner)
    formula = formula_of(owner, axis.tensor) if axis.owner else None
    shared: Any = formula if formula is not None else getattr(owner, axis.tensor)
    if (id(shared), axis.axis) in done:
        return
    if formula is not None:
        if not removed[axis.ids].any():
            return
        formula.select(axis.axis, torch.from_numpy(kept_positions(axis.ids, removed)))
        done[id(formula), axis.axis] = formula
        return
    old: Tensor = shared
    new = _select_parts(old, axis.axis, axis.parts, removed) if axis.parts is not None else _select(old, axis, removed)
    if new is None:
        return
    _replace_everywhere(graph, old, new)
    for key in [key for key in done if key[0] == id(old)]:
        done[id(new), key[1]] = new
        del done[key]
    done[id(new), axis.axis] = new


def _select(tensor: Tensor, axis: ParameterAxis, removed: NDArray[np.bool_]) -> Tensor | None:
    if not removed[axis.ids].any():
        return None
    kept = torch.from_numpy(kept_positions(axis.ids, removed)).to(tensor.device)
    return _like(tensor, tensor.detach().index_select(axis.axis, kept))


def _select_parts(weight: Tensor, axis: int, parts: NDArray[np.int64], removed: NDArray[np.bool_]) -> Tensor | None:
    """What remains along an axis, part by part of the first; every part keeps equally many."""
    if not removed[parts].any():
        return None
    rows = [
        chunk.index_select(axis, torch.from_numpy(kept_positions(ids, removed)).to(weight.device))
        for chunk, ids in zip(weight.detach().chunk(len(parts), dim=0), parts, strict=True)
    ]
    return _like(weight, torch.cat(rows))


def _like(old: Tensor, new: Tensor) -> Tensor:
    new = new.contiguous()
    return nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new


def _replace_everywhere(graph: fx.GraphModule, old: Tensor, new: Tensor) -> None:
    """Ties survive a cut: whoever held the old tensor holds the new one."""
    for module in graph.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is old:
                    table[name] = new  # pyright: ignore[reportArgumentType]  # a Parameter stays a Parameter


def _settle(module: nn.Module) -> None:
    """Bring the sizes that a layer declares in line with its tensors."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if module.running_mean is not None:
            module.num_features = len(module.running_mean)
    elif isinstance(module, nn.modules.conv._ConvTransposeNd) and weight is not None:
        if module.groups > 1 and module.in_channels == module.groups:
            module.groups = weight.shape[0]
        module.in_channels, module.out_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        if module.groups > 1 and weight.shape[1] == 1 and module.in_channels == module.groups:
            multiplier = module.out_channels // module.groups
            module.groups = weight.shape[0] // multiplier
        module.in_channels, module.out_channels = weight.shape[1] * module.groups, weight.shape[0]
    elif isinstance(module, nn.Linear) and weight is not None:
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and weight is not None:
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm) and weight is not None:
        module.num_groups = len(weight) if module.num_groups == module.num_channels else module.num_groups
        module.num_channels = len(weight)
    elif isinstance(module, nn.Embedding) and weight is not None:
        module.embedding_dim = weight.shape[1]
    elif isinstance(module, nn.PReLU) and weight is not None:
        module.num_parameters = weight.numel()


def _recount(network: Network, literal: Literal, removed: NDArray[np.bool_]) -> None:
    if not literal.changes(removed):
        return
    free = 1 if literal.node.target in (expand, expand_to) else -1
    kept = free if literal.is_free else literal.kept(removed)
    node, place = literal.node, literal.position
    if place is None:
        node.update_kwarg(literal.name, kept)
    elif literal.name in node.kwargs:
        old = node.kwargs[literal.name]
        assert isinstance(old, (list, tuple))
        node.update_kwarg(literal.name, [kept if other == place else value for other, value in enumerate(old)])
    elif literal.is_share:
        _leave_share(network, literal, kept)
    else:
        _overwrite(network, literal, kept)


def _leave_share(network: Network, literal: Literal, kept: int) -> None:
    """Multiply a size in the computed shape that a node takes."""
    node, place = literal.node, place_of_shape(literal.node)
    shares = [1] * literal.length
    of = [literal.ids.shape[literal.axis] if other == literal.position else 1 for other in range(literal.length)]
    shares[literal.position or 0] = kept
    with network.graph.graph.inserting_before(node):
        computed = network.graph.graph.call_function(with_shares, (node.args[place],), {"kept": shares, "of": of})
    computed.meta.update(value=f"{node.meta.get('value') or node.name}/share", source=())
    node.update_arg(place, computed)


def _overwrite(network: Network, literal: Literal, size: int) -> None:
    """Put a size into the computed shape that a node takes."""
    node, place = literal.node, place_of_shape(literal.node)
    computed = node.args[place]
    assert isinstance(computed, fx.Node)
    if computed.target is not with_sizes or len(computed.users) > 1:
        with network.graph.graph.inserting_before(node):
            computed = network.graph.graph.call_function(with_sizes, (computed,), {"sizes": [None] * literal.length})
        computed.meta.update(value=f"{node.meta.get('value') or node.name}/shape", source=())
        node.update_arg(place, computed)
    sizes: Any = computed.kwargs["sizes"]
    computed.update_kwarg("sizes", [size if other == literal.position else value for other, value in enumerate(sizes)])


def _rewrite(network: Network, pick: Pick, root: fx.Node, removed: NDArray[np.bool_]) -> fx.Node:
    """A chain of reshapes and transposes, or a slice in steps, as the `Gather` that it amounts to."""
    rank = np.cumsum(~removed[pick.axis_ids]) - 1
    kept = pick.positions[~removed[pick.axis_ids[pick.positions]]]
    with network.graph.graph.inserting_before(pick.node):
        literals: dict[str, Any] = {"indices": [int(place) for place in rank[kept]], "axis": pick.axis}
        made = network.graph.graph.call_function(take, (root,), literals)
    made.meta.update(value=pick.node.meta.get("value"), source=())
    pick.node.replace_all_uses_with(made)
    _remove_chain(network, pick.node, root)
    return made


def _leave_out(network: Network, drop: Drop, removed: NDArray[np.bool_]) -> None:
    argument = drop.node.args[drop.argument]
    if removed[drop.ids].any() and isinstance(argument, fx.Node):
        drop.node.update_arg(drop.argument, None)
        _remove_chain(network, argument, drop.node)


def _remove_chain(network: Network, node: fx.Node, root: fx.Node) -> None:
    """Take out a node that nothing uses any more, and then what only it used, up to the root."""
    if node is root or node.users:
        return
    sources = list(node.all_input_nodes)
    network.remove(node)
    for source in sources:
        if source.op != "placeholder":
            _remove_chain(network, source, root)


def _renumber(indices: Indices, removed: NDArray[np.bool_]) -> None:
    """New positions of the listed channels that remain."""
    if not removed[indices.axis_ids].any():
        return
    rank = np.cumsum(~removed[indices.axis_ids]) - 1
    kept = indices.positions[~removed[indices.axis_ids[indices.positions]]]
    indices.node.update_kwarg(indices.name, [int(place) for place in rank[kept]])

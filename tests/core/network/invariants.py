"""The invariant of channels: every occurrence of a unit zeroed in the parameters = the unit removed.

What makes a proof of it worth something is asserted too: the output varies with the input, before and after; the
units mattered; removing another unit than was zeroed shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from core.network.channels import analyse
from core.network.channels.surgery import remove_units, zero_units
from core.network.channels.units import Channels
from core.network.network import Network
from tests.core.network.models import run_each, run_onnx

Arrays = dict[str, np.ndarray]

CLOSE = 1e-5
"""Largest difference, relative to the largest output, of two orders of adding up the same numbers in fp32."""

CLOSE_WHEN_DEEP = 1e-4
"""The same after more than some thirty layers that each round: a cut makes onnxruntime add up in other blocks."""

VARIES = 1e-3
"""How much an output must differ, relative to the largest, to count as another one."""


@dataclass(frozen=True)
class Subject:
    """A network to try, and two example inputs of one shape: integers are token ids below what the example holds."""

    model: ModelProto
    example: Mapping[str, np.ndarray]

    def inputs(self, seed: int) -> Arrays:
        rng = np.random.default_rng(seed)
        return {name: drawn_like(array, rng) for name, array in self.example.items()}


def drawn_like(example: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random numbers of the example's type and shape.

    Floats are normal around a level of each channel's own, since means over much noise hardly vary. Integers lie
    between the example's smallest and largest.
    """
    if np.issubdtype(example.dtype, np.floating):
        levels = rng.standard_normal([size if axis < 2 else 1 for axis, size in enumerate(example.shape)])
        return (rng.standard_normal(example.shape) + levels).astype(example.dtype)
    if example.dtype == bool or example.size == 0:
        return example
    return rng.integers(example.min(), example.max(), example.shape, endpoint=True).astype(example.dtype)


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Of all outputs the largest difference relative to the output's largest number; infinite for other shapes."""
    if [a.shape for a in found] != [b.shape for b in expected]:
        return float("inf")
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(found, expected, strict=True) if b.size]
    worst = max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs)
    return float(worst) if np.isfinite(worst) else float("inf")


def assert_varies(model: ModelProto, subject: Subject, seed: int) -> list[np.ndarray]:
    """Every output is another one for another input; returns those of the first."""
    first, second = run_each(model, [subject.inputs(seed), subject.inputs(seed + 1)])
    for place, (a, b) in enumerate(zip(first, second, strict=True)):
        assert difference([b], [a]) > VARIES, f"output {place} does not vary with the input"
    return first


def check_removal(subject: Subject, seed: int, close: float = CLOSE, freer: int = 0) -> None:
    """One trial: random units of the network zeroed, and removed, give the same outputs; and they had mattered.

    Args:
        freer: how many more units than those that are left may be found afterwards, at most.
    """
    original = assert_varies(subject.model, subject, seed)
    network = Network.from_proto(subject.model)
    units = some_units(analyse(network), seed)
    zeroed, written = compare_removal(network, units, subject.inputs(seed), close)
    assert difference(assert_varies(zeroed, subject, seed), original) > VARIES, "the units did not matter"
    left = spare_units(analyse(network)) - len(units)
    assert left <= spare_units(analyse(Network.from_proto(written))) <= left + freer


def compare_removal(
    network: Network, units: NDArray[np.int64], inputs: Arrays, close: float = CLOSE
) -> tuple[ModelProto, ModelProto]:
    """The network with the units zeroed, and with them removed: outputs agree in onnxruntime; gives back both."""
    zeroed, cut = network.copy(), network.copy()
    zero_units(zeroed, analyse(zeroed), units)
    remove_units(cut, analyse(cut), units)
    assert parameters(cut) < parameters(zeroed)
    models = zeroed.to_proto(), cut.to_proto()
    onnx.checker.check_model(models[1])
    expected, found = (run_onnx(model, inputs) for model in models)
    assert difference(found, expected) <= close
    return models


def check_neighbours_show(subject: Subject, seed: int, close: float = CLOSE) -> None:
    """The comparison can fail: removing the units next to those that were zeroed is found out."""
    network = Network.from_proto(subject.model)
    channels = analyse(network)
    units = some_units(channels, seed)
    expected = _zeroed(network, units, subject, seed)
    assert _removed(network, shifted(channels, units), subject, seed, expected) > 10 * close


def check_locked_shows(subject: Subject, seed: int, close: float = CLOSE) -> None:
    """What is locked is locked for a reason: zeroed and removed all the same, it does not give the same."""
    network = Network.from_proto(subject.model)
    channels = analyse(network)
    one = np.random.default_rng(seed).choice(sorted(_filters(channels) & set(channels.locked)), 1)
    expected = _zeroed(network, one, subject, seed)
    reason = channels.locked[int(one[0])]
    assert _removed(network, one, subject, seed, expected) > 10 * close, f"locked without need: {reason}"


def _zeroed(network: Network, units: NDArray[np.int64], subject: Subject, seed: int) -> list[np.ndarray]:
    zeroed = network.copy()
    zero_units(zeroed, analyse(zeroed), units)
    return run_onnx(zeroed.to_proto(), subject.inputs(seed))


def _removed(
    network: Network, units: NDArray[np.int64], subject: Subject, seed: int, expected: list[np.ndarray]
) -> float:
    """Difference of the network without the units; infinite where nothing runs any more."""
    cut = network.copy()
    try:
        remove_units(cut, analyse(cut), units)
        found = run_onnx(cut.to_proto(), subject.inputs(seed))
    except Exception:  # whichever way a network that was cut wrongly breaks
        return float("inf")
    return difference(found, expected)


def some_units(channels: Channels, seed: int) -> NDArray[np.int64]:
    """Random units of two thirds of the groups, up to half of each, as far as every balance allows; at least one."""
    units = find_units(channels, seed)
    assert len(units), f"no unit can be removed: {locked_because(channels)}"
    return units


def find_units(channels: Channels, seed: int) -> NDArray[np.int64]:
    """The same, or none where there are none. Each balanced part of a group gives equally many and keeps one."""
    rng, removed = np.random.default_rng(seed), np.zeros(channels.count, dtype=bool)
    for _ in range(20):
        removed[:] = False
        for group in channels.groups:
            parts = [group.units[group.parts == part] for part in np.unique(group.parts)]
            most = min(len(part) for part in parts) // 2
            count = int(rng.integers(1, most, endpoint=True)) if most and rng.random() < 2 / 3 else 0
            for part in parts:
                removed[rng.choice(part, count, replace=False)] = True
        removed = channels.balanced(removed)
        if removed.any():
            break
    return np.flatnonzero(removed)


def spare_units(channels: Channels) -> int:
    """How many units could still go, one of each balanced part of each group being the last."""
    return sum(len(group.units) - len(np.unique(group.parts)) for group in channels.groups)


def shifted(channels: Channels, units: NDArray[np.int64]) -> NDArray[np.int64]:
    """As many units of the same groups and parts, each next to one that was meant."""
    meant = np.zeros(channels.count, dtype=bool)
    meant[units] = True
    other = np.zeros_like(meant)
    for group in channels.groups:
        for part in np.unique(group.parts):
            row = group.units[group.parts == part]
            other[row] = np.roll(meant[row], 1)
    return np.flatnonzero(other)


def parameters(network: Network) -> int:
    return sum(tensor.numel() for tensor in network.graph.parameters())


def shares(channels: Channels) -> dict[str, float]:
    """Per layer the share of its filters that can be removed."""
    free = np.zeros(channels.count, dtype=bool)
    free[channels.prunable()] = True
    return {
        channels.layer_names[axis.owner]: float(free[axis.ids].mean())
        for axis in channels.axes
        if axis.produces and axis.tensor.startswith("weight") and axis.owner in channels.layer_names
    }


def locked_because(channels: Channels) -> dict[str, set[str]]:
    """Why filters are locked: the reasons, each with the layers that it holds."""
    found: dict[str, set[str]] = {}
    for axis in channels.axes:
        if axis.produces and axis.owner in channels.layer_names:
            for unit in set(axis.ids.tolist()) & set(channels.locked):
                found.setdefault(channels.locked[unit], set()).add(channels.layer_names[axis.owner])
    return found


def _filters(channels: Channels) -> set[int]:
    """Units that layers compute."""
    return {int(unit) for axis in channels.axes if axis.produces for unit in axis.ids}

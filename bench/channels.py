"""Channels: what can be removed of each network, why the rest can't, and random removals that were tried.

The networks are the onnx package's light models in their real sizes, the zoo, and those of `tests/networks` as both of
torch's exporters write them. A trial zeroes random units in the parameters of one copy, removes them from another, and
compares both in onnxruntime; where the units had not mattered it says nothing.
Trials of the zoo are run on networks of all its layers made thin; all else is told of the real sizes. Seconds are a
processor's.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.record import keep
from core.network.channels import analyse
from core.network.channels.units import Channels
from core.network.network import Network
from core.zoo.architectures import ARCHITECTURES
from tests.core.network import exports, light, test_light_models, zoo
from tests.core.network.invariants import (
    CLOSE,
    CLOSE_WHEN_DEEP,
    VARIES,
    Subject,
    compare_removal,
    difference,
    find_units,
    locked_because,
)
from tests.core.network.models import run_onnx
from tests.networks import NETWORKS

Make = Callable[[], Subject]

PASSED, WITHOUT_EFFECT = "passed", "without effect"
TOTALS = ("trials", PASSED, WITHOUT_EFFECT, "units removed")


@dataclass(frozen=True)
class Case:
    """A network to tell of, the one to try removals on, and how often and how closely."""

    whole: Make
    tried: Make
    trials: int
    close: float = CLOSE


def main(arguments: list[str]) -> None:
    """Every network, or those named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters warn of themselves
        figures = {name: measured(case) for name, case in cases() if not arguments or name in arguments}
    totals = {what: sum(found[what] for found in figures.values()) for what in TOTALS}
    keep("channels", {"networks": len(figures), **totals, "of each": figures})


def cases() -> Iterator[tuple[str, Case]]:
    for name in light.NAMES:
        make = lambda name=name: test_light_models.subject(name)  # noqa: E731  one expression, three times
        yield name, Case(make, make, 3, CLOSE_WHEN_DEEP)
    for name in ARCHITECTURES:
        yield (
            f"zoo {name}",
            Case(lambda name=name: zoo.whole(name), lambda name=name: zoo.thin(name), 10, CLOSE_WHEN_DEEP),
        )
    for name in NETWORKS:
        for exporter in exports.EXPORTERS:
            make = lambda name=name, exporter=exporter: exports.subject(name, exporter)  # noqa: E731  as above
            yield f"{name} by {exporter}", Case(make, make, 10)


def measured(case: Case) -> dict[str, Any]:
    network = Network.from_proto(case.whole().model)
    analyse(network)  # what is loaded on first use
    began = time.process_time()
    channels = analyse(network)
    seconds = time.process_time() - began
    return {
        "nodes": len(network.index.nodes),
        "seconds": round(seconds, 3),
        "prunable": f"{share(channels):.1%}",
        "locked layers": {reason: len(layers) for reason, layers in locked_because(channels).items()},
        **tried(case),
    }


def share(channels: Channels) -> float:
    """Of all filters of all layers the share that can go."""
    filters = [axis.ids for axis in channels.axes if axis.produces and axis.is_weight]
    return float(np.isin(np.concatenate(filters), channels.prunable()).mean())


def tried(case: Case) -> dict[str, int]:
    """Trials with other seeds, none where nothing can go, and the units that went in those that passed."""
    subject = case.tried()
    network = Network.from_proto(subject.model)
    channels = analyse(network)
    drawn = [(seed, units) for seed in range(case.trials) if len(units := find_units(channels, seed))]
    outcomes = [outcome(network, subject, seed, units, case.close) for seed, units in drawn]
    return {
        "trials": len(drawn),
        "passed": outcomes.count(PASSED),
        "without effect": outcomes.count(WITHOUT_EFFECT),
        "units removed": sum(len(units) for (_, units), came in zip(drawn, outcomes, strict=True) if came == PASSED),
    }


def outcome(network: Network, subject: Subject, seed: int, units: np.ndarray, close: float) -> str:
    inputs = subject.inputs(seed)
    try:
        zeroed, _ = compare_removal(network, units, inputs, close)
    except Exception as error:  # of torch, onnx or onnxruntime, whichever a wrong cut meets first
        return type(error).__name__
    mattered = difference(run_onnx(zeroed, inputs), run_onnx(network.source, inputs)) > VARIES
    return PASSED if mattered else WITHOUT_EFFECT

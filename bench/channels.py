"""Channels: what can be removed of each network, why the rest can't, and random removals that were tried.

The networks are the onnx package's light models in their real sizes, the zoo, and those of `tests/networks` as both of
torch's exporters write them. A trial zeroes random units in the parameters of one copy, removes them from another, and
compares both in onnxruntime; it fails too where the output does not vary with the input or the units did not matter.
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
    Subject,
    check_removal,
    find_units,
    locked_because,
)
from tests.networks import NETWORKS

Make = Callable[[], Subject]


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
    totals = {what: sum(found[what] for found in figures.values()) for what in ("trials", "passed", "units removed")}
    keep("channels", {"networks": len(figures), **totals, "of each": figures})


def cases() -> Iterator[tuple[str, Case]]:
    for name in light.NAMES:
        make = lambda name=name: test_light_models.subject(name)  # noqa: E731  one expression, three times
        yield name, Case(make, make, 3, CLOSE_WHEN_DEEP)
    for name in ARCHITECTURES:
        yield f"zoo {name}", Case(lambda name=name: zoo.whole(name), lambda name=name: zoo.thin(name), 10)
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
    channels = analyse(Network.from_proto(subject.model))
    units = [len(find_units(channels, seed)) for seed in range(case.trials)]
    passed = [passes(subject, seed, case.close) for seed, count in enumerate(units) if count]
    removed = sum(count for count, good in zip(filter(None, units), passed, strict=True) if good)
    return {"trials": len(passed), "passed": sum(passed), "units removed": removed}


def passes(subject: Subject, seed: int, close: float) -> bool:
    try:
        check_removal(subject, seed, close)
    except Exception:  # of torch, onnx or onnxruntime, whichever a wrong cut meets first
        return False
    return True

"""What goes together: our analysis of channels beside Torch-Pruning's dependency graph, on the same small networks.

Each network runs in a process of its own, with a limit of time. Ours reads torch's ONNX export; theirs the module.
Both are asked to take the last quarter of one group at a time. A cut is right if the network still takes and gives
what it did, with the outputs of the network whose same weights are zeroed instead. Theirs leaves it to the user to name
the layers that are outputs, so that cutting one is told apart: another interface.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn

from bench.record import keep
from core.network.channels import analyse
from core.network.network import Network
from tests.core.network.exports import subject
from tests.core.network.invariants import compare_removal, shares
from tests.networks import NETWORKS
from tests.networks.example import Example

SECONDS = 40
LAYERS = [nn.modules.conv._ConvNd, nn.Linear, nn.LSTM]
CLOSE = 1e-4


def main(arguments: list[str]) -> None:
    """Every network, or those named; `--one NAME WHO` is what the processes run."""
    if arguments[:1] == ["--one"]:
        print(json.dumps((ours if arguments[2] == "ours" else theirs)(arguments[1])))
        return
    figures = {name: {who: measured(name, who) for who in ("ours", "theirs")} for name in arguments or NETWORKS}
    keep("grouping", figures)


def measured(name: str, who: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "bench", "grouping", "--one", name, who]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {SECONDS} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(name: str) -> dict[str, Any]:
    case = subject(name, "script")
    network = Network.from_proto(case.model)
    analyse(network)  # what is loaded on first use
    began = time.perf_counter()
    channels = analyse(network)
    seconds = time.perf_counter() - began
    cuts = []
    for group in channels.groups:
        removed = np.zeros(channels.count, dtype=bool)
        for part in np.unique(group.parts):
            units = group.units[group.parts == part]
            removed[units[len(units) - len(units) // 4 :]] = True
        if (removed := channels.balanced(removed)).any():
            cuts.append(
                outcome(lambda removed=removed: ours_is_right(network, np.flatnonzero(removed), case.inputs(0)))
            )
    return {
        "seconds": round(seconds, 3),
        "groups": len(channels.groups),
        "prunable share": round(float(np.mean(list(shares(channels).values()))), 2),
        "cuts": dict(Counter(cuts)),
    }


def ours_is_right(network: Network, units: np.ndarray, inputs: dict[str, np.ndarray]) -> str:
    compare_removal(network, units, inputs, CLOSE)
    return "right"


def theirs(name: str) -> dict[str, Any]:
    example = NETWORKS[name]()
    graph_of(example)
    began = time.perf_counter()
    graph = graph_of(example)
    groups = list(graph.get_all_groups(root_module_types=LAYERS))
    seconds = time.perf_counter() - began
    layers = [module for module in example.module.modules() if isinstance(module, tuple(LAYERS))]
    covered = {
        id(dependency.target.module) for group in groups for dependency, _ in group if is_filters(graph, dependency)
    }
    cuts = [outcome(lambda place=place: theirs_is_right(name, place)) for place in range(len(groups))]
    return {
        "seconds": round(seconds, 3),
        "groups": len(groups),
        "layers in groups": round(sum(id(layer) in covered for layer in layers) / len(layers), 2),
        "cuts": dict(Counter(cuts)),
    }


def graph_of(example: Example) -> Any:
    return torch_pruning.DependencyGraph().build_dependency(example.module, dict(example.inputs), verbose=False)


def is_filters(graph: Any, dependency: Any) -> bool:
    return graph.is_out_channel_pruning_fn(dependency.handler)


def theirs_is_right(name: str, place: int) -> str:
    """What comes of a group that loses its last quarter, beside the same network with those weights zeroed."""
    cut, zeroed = NETWORKS[name](), NETWORKS[name]()
    before = outputs(cut)
    smaller, other = quarter(cut, place), quarter(zeroed, place)
    if smaller is None or other is None:
        return "refused"
    is_zeroed = zero(*other)
    expected = outputs(zeroed)
    smaller[1].prune()
    found = outputs(cut)
    if [x.shape for x in found] != [x.shape for x in before]:
        return "another interface"
    if not is_zeroed:
        return "runs, not compared"
    close = all((a - b).abs().max() <= CLOSE * b.abs().max() for a, b in zip(found, expected, strict=True))
    return "right" if close else "other outputs"


def quarter(example: Example, place: int) -> tuple[Any, Any] | None:
    """The graph and its group of that number, narrowed to the last quarter of its channels, at least one."""
    graph = graph_of(example)
    group = list(graph.get_all_groups(root_module_types=LAYERS))[place]
    count = len(group[0].idxs)
    if count < 2:
        return None
    gone = list(range(count - max(count // 4, 1), count))
    root = group[0].dep
    narrowed = graph.get_pruning_group(root.target.module, root.handler, gone)
    return (graph, narrowed) if graph.check_pruning_group(narrowed) else None


@torch.no_grad()
def zero(graph: Any, group: Any) -> bool:
    """Zero the very indices that pruning the group would take out; False where a layer is of a kind left aside."""
    for dependency, places in group:
        module, gone = dependency.target.module, torch.tensor(places)
        is_conv = isinstance(module, nn.modules.conv._ConvNd)
        if type(module).__module__.startswith("torch_pruning"):
            continue  # concatenations, splits and the like hold no weights
        if isinstance(module, nn.Embedding):
            module.weight.index_fill_(1, gone, 0.0)
        elif isinstance(module, nn.Linear) or (is_conv and module.groups == 1):
            is_out = is_filters(graph, dependency)
            module.weight.index_fill_(int(is_out == isinstance(module, nn.modules.conv._ConvTransposeNd)), gone, 0.0)
            if is_out and module.bias is not None:
                module.bias.index_fill_(0, gone, 0.0)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.PReLU) or is_depthwise(module):
            for tensor in module.parameters(recurse=False):
                tensor.index_fill_(0, gone, 0.0)
        else:
            return False
    return True


def is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.in_channels == module.out_channels


@torch.no_grad()
def outputs(example: Example) -> list[Tensor]:
    found = example.module(**example.inputs)
    return flat(found)


def flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for one in (value.values() if isinstance(value, dict) else value) for tensor in flat(one)]


def outcome(check: Callable[[], str]) -> str:
    """What came of one cut, or the error in a word."""
    try:
        return check()
    except AssertionError:
        return "other outputs"
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"

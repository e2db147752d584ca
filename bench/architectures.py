"""`python -m bench architectures FOLDER [NAME ...]`: how the importer fares on what `bench.real_models` wrote.

Each file is tried by a process of its own, with a limit of time: import; torch against onnxruntime, and onnxruntime on
every node written anew; which filters can be removed, and one removal of random units against the same units zeroed.
The figures of files tried before are kept in the folder until those are named or the folder's `figures` are removed.
"""

import json
import statistics
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.limited import in_time
from bench.record import keep
from core.network.channels import analyse
from core.network.channels.surgery import zero_units
from core.network.channels.units import Channels
from core.network.network import Network
from core.network.opaque import OpaqueNode
from modelpress.problem import ProblemError
from tests.core.network.agreement import in_torch, written_anew
from tests.core.network.invariants import Arrays, compare_removal, difference, find_units
from tests.core.network.invariants import Subject as Case
from tests.core.network.models import run_onnx

SECONDS = 180
LATE, DIED = ({"failure": text} for text in (f"not done after {SECONDS} s", "the process died"))
CLOSE = 1e-5
ROUNDINGS = 10
"""How many times the spread of onnxruntime's own roundings is allowed, where that is more than CLOSE: in deep networks,
and where a network chooses (a detector's boxes)."""

ULP = 2.0**-23
KINDS = {"tv": "torchvision", "timm": "timm", "hf": "transformers"}


def main(arguments: list[str]) -> None:
    folder, names = Path(arguments[0]), arguments[1:]
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    paths = sorted(folder.glob("*.onnx"))
    tell(min(paths, key=lambda path: path.stat().st_size))  # what is loaded on first use
    for path in paths:
        kept = figures / f"{path.stem}.json"
        if (path.stem in names) if names else not kept.exists():
            found = in_time(SECONDS, lambda path=path: tell(path), LATE, DIED)
            kept.write_text(json.dumps(found, indent=1))
            print(path.stem, verdict(found), flush=True)
    found = {path.stem: json.loads(path.read_text()) for path in sorted(figures.glob("*.json"))}
    if not names:
        aside = {path.stem: path.read_text() for path in sorted(folder.glob("*.txt"))}
        keep("architectures", summary(found, aside))


def tell(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        measure(path, found)
    except ProblemError as problem:
        found["failure"] = f"{type(problem).__name__}: {str(problem)[:300]}"
    except Exception as error:
        found["failure"] = f"{type(error).__name__}: {str(error)[:300]}"
        found["where"] = traceback.format_exc().splitlines()[-8:]
    return found


def measure(path: Path, found: dict[str, Any]) -> None:
    began = time.perf_counter()
    network = Network.from_onnx(path)
    found["import, s"] = round(time.perf_counter() - began, 2)
    model = network.source
    found["nodes"] = sum(node.op_type != "Constant" for node in model.graph.node)
    found["opaque"] = opaque_nodes(network)
    with np.load(path.with_suffix(".npz")) as example:
        case = Case(model, {value.name: example[value.name] for value in model.graph.input})
        inputs = {key: example[key] for key in case.example}
    expected = run_onnx(model, inputs, optimised=False)
    allowed = max(CLOSE, ROUNDINGS * spread(model, inputs, expected))
    found["allowed"] = allowed
    found["in torch"] = difference(in_torch(network, inputs), expected)
    found["unchanged"] = "the same file" if network.to_proto() == onnx.load(str(path)) else "another file"
    found["written anew"] = difference(run_onnx(written_anew(network), inputs, optimised=False), expected)
    began = time.perf_counter()
    channels = analyse(network)
    found["analysis, s"] = round(time.perf_counter() - began, 2)
    found |= channels_of(network, channels)
    units = find_units(channels, 0)
    found["removal"] = trial(network, units, inputs, max(allowed, 1e-4)) if len(units) else "no unit can go"


def opaque_nodes(network: Network) -> dict[str, int]:
    """Opaque nodes by operator and reason."""
    reasons = Counter()
    for note in network.notes:
        if "runs in onnxruntime" in note:
            reasons[note.split(": ", 1)[1]] += 1
    kinds = Counter(part.op_type for part in network.graph.modules() if isinstance(part, OpaqueNode))
    return {"operators": dict(kinds), "reasons": dict(reasons)} if kinds else {}


def spread(model: onnx.ModelProto, inputs: Arrays, expected: list[np.ndarray]) -> float:
    """How far onnxruntime is from itself: optimised, and with inputs of another last digit."""
    rng = np.random.default_rng(0)
    near = {
        name: (value * (1 + ULP * rng.choice([-1, 1], value.shape))).astype(value.dtype)
        if np.issubdtype(value.dtype, np.floating)
        else value
        for name, value in inputs.items()
    }
    found = [run_onnx(model, inputs), run_onnx(model, near, optimised=False)]
    return max(difference(one, expected) for one in found)


def channels_of(network: Network, channels: Channels) -> dict[str, Any]:
    """The share of filters that can be removed, and how many are locked for each reason."""
    free = np.zeros(channels.count, dtype=bool)
    free[channels.prunable()] = True
    nodes = network.graph.graph.nodes
    kinds = {str(node.meta.get(key)): kind_of(node) for node in nodes for key in ("layer", "value")}
    made = [axis for axis in channels.axes if axis.produces and axis.is_weight]
    filters = [axis for axis in made if axis.owner in channels.layer_names]
    locked: Counter[str] = Counter()
    for axis in filters:
        for unit in axis.ids.tolist():
            if unit in channels.locked:
                locked[general(channels.locked[unit], kinds)] += 1
    count = sum(len(axis.ids) for axis in filters)
    share = sum(int(free[axis.ids].sum()) for axis in filters) / count if count else 0.0
    return {"filters": count, "prunable": round(share, 3), "locked": dict(locked.most_common())}


def kind_of(node: Any) -> str:
    return str(node.meta.get("kind") or getattr(node.target, "__name__", node.op))


def general(reason: str, kinds: dict[str, str]) -> str:
    """A reason without the names of this network."""
    for word in reason.split():
        if word in kinds:
            return reason.replace(word, kinds[word])
    return reason


def trial(network: Network, units: np.ndarray, inputs: Arrays, close: float) -> str:
    """What comes of removing these units where they are zeroed beside it."""
    try:
        zeroed, _ = compare_removal(network, units, inputs, close)
    except AssertionError:
        return told_by(zeroed_outputs(network, units, inputs))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    mattered = difference(run_onnx(zeroed, inputs), run_onnx(network.source, inputs))
    return "right" if mattered > 10 * close else "right, but the units did not matter"


def zeroed_outputs(network: Network, units: np.ndarray, inputs: Arrays) -> list[np.ndarray]:
    zeroed = network.copy()
    zero_units(zeroed, analyse(zeroed), units)
    return run_onnx(zeroed.to_proto(), inputs)


def told_by(zeroed: list[np.ndarray]) -> str:
    """What a difference from these outputs means: where a head that is zeroed is divided by its sum, nothing."""
    return "other outputs" if all(np.isfinite(one).all() for one in zeroed) else "zeroed, it divides 0 by 0"


# all files together


def is_agreeing(one: dict[str, Any]) -> bool:
    allowed = one.get("allowed", 0)
    return one.get("in torch", np.inf) <= allowed and one.get("written anew", np.inf) <= allowed


def verdict(one: dict[str, Any]) -> str:
    if "failure" in one and "nodes" not in one:
        return f"NOT IMPORTED {one['failure']}"
    words = [f"{one['nodes']} nodes", f"opaque {one['opaque'].get('operators', {})}"]
    if not is_agreeing(one):
        words += ["DIFFERS", *(f"{key} {one.get(key)}" for key in ("in torch", "written anew", "allowed"))]
    words += [f"prunable {one.get('prunable')}", str(one.get("removal"))]
    words.append(f"{one['import, s']}+{one.get('analysis, s')} s")
    return ", ".join([*words, *([f"FAILED {one['failure']}"] if "failure" in one else [])])


def summary(found: dict[str, dict[str, Any]], aside: dict[str, str]) -> dict[str, Any]:
    imported = {name: one for name, one in found.items() if "nodes" in one}
    nodes = sum(one["nodes"] for one in imported.values())
    opaque = sum(sum(one["opaque"].get("operators", {}).values()) for one in imported.values())
    analysed = {name: one for name, one in imported.items() if "prunable" in one}
    return {
        "files": len(found),
        "imported": len(imported),
        "agreeing": sum(map(is_agreeing, imported.values())),
        "nodes": nodes,
        "native share of nodes": round(1 - opaque / max(nodes, 1), 4),
        "files native from end to end": sum(not one["opaque"] for one in imported.values()),
        "files with an opaque operator": files_by(imported, lambda one: one["opaque"].get("operators", {})),
        "why opaque, files": files_by(imported, lambda one: one["opaque"].get("reasons", {})),
        "prunable share of filters, median": {
            kind: statistics.median(shares) for kind, shares in by_kind(analysed).items()
        },
        "locked filters by reason, files": files_by(analysed, lambda one: one["locked"]),
        "removal": dict(Counter(removal_of(one) for one in imported.values())),
        "import, s": spread_of([one["import, s"] for one in imported.values()]),
        "analysis, s": spread_of([one["analysis, s"] for one in analysed.values()]),
        "failures": {name: one["failure"] for name, one in found.items() if "failure" in one},
        "differing": {
            name: [one["in torch"], one["written anew"], one["allowed"]]
            for name, one in imported.items()
            if "written anew" in one and not is_agreeing(one)
        },
        "removals gone wrong": {name: one["removal"] for name, one in imported.items() if removal_of(one) == "wrong"},
        "prunable share": {name: one["prunable"] for name, one in analysed.items()},
        "not written or of no use": aside,
    }


def removal_of(one: dict[str, Any]) -> str:
    said = one.get("removal", "not tried")
    return said if said.startswith(("right", "no unit", "not tried", "zeroed")) else "wrong"


def by_kind(found: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    return {
        kind: shares
        for prefix, kind in KINDS.items()
        if (shares := [one["prunable"] for name, one in found.items() if name.startswith(f"{prefix}-")])
    }


def files_by(found: dict[str, dict[str, Any]], keys: Any) -> dict[str, int]:
    return dict(Counter(key for one in found.values() for key in keys(one)).most_common())


def spread_of(seconds: list[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "most": max(seconds)} if seconds else {}

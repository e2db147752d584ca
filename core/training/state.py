"""The state of a fit on disk: data, never a pickle, so that a long fit goes on where it was cut off."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.training.score import Score


@dataclass
class Position:
    """Where a fit stands.

    Attributes:
        step: steps done in all.
        epoch: passes finished.
        batch: batches of the present pass that are done.
        slower: factor on the step size; falls when the fit diverges.
        worse: passes since the best score.
        divergences: times the fit went back to its best state.
        best: best score on the selection data, if there are any.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    slower: float = 1.0
    worse: int = 0
    divergences: int = 0
    best: Score | None = None


def save_state(
    path: Path,
    fingerprint: str,
    position: Position,
    graph: nn.Module,
    best: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    order: Tensor,
) -> None:
    """Write everything that decides how the fit goes on; the file appears whole or not at all.

    Args:
        fingerprint: what the state belongs to; `load_state` asks for the same.
        order: state of the sampler's generator at the start of the present pass.
    """
    tensors = {f"now.{name}": tensor for name, tensor in graph.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()} | {"order": order}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in slots.items() if isinstance(value, Tensor)}
    metadata = {"fingerprint": fingerprint, "position": json.dumps(asdict(position))}
    partial = path.with_suffix(".partial")
    # clones, since tied weights share memory, which the format refuses
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, partial, metadata)
    os.replace(partial, path)


@dataclass(frozen=True)
class Saved:
    position: Position
    now: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[int, dict[str, Tensor]]
    order: Tensor


def load_state(path: Path, fingerprint: str) -> Saved | None:
    """What `save_state` wrote; None where there is nothing, or it belongs to something else."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except SafetensorError:
        return None
    if metadata.get("fingerprint") != fingerprint:
        return None
    return Saved(
        position=_position(json.loads(metadata["position"])),
        now=_under(tensors, "now."),
        best=_under(tensors, "best."),
        optimiser=_slots(_under(tensors, "optimiser.")),
        order=tensors["order"],
    )


def restore_optimiser(optimiser: torch.optim.Optimizer, slots: dict[int, dict[str, Tensor]]) -> None:
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})


def _position(raw: dict[str, Any]) -> Position:
    best = raw.pop("best")
    return Position(**raw, best=None if best is None else Score(**best))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _slots(flat: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        index, key = name.split(".", 1)
        slots.setdefault(int(index), {})[key] = tensor
    return slots

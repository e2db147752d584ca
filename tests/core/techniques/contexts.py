"""A context as a job gives it to a technique, with data written in the test."""

from pathlib import Path

import numpy as np
import torch

from core.clock import Clock
from core.context import Context
from core.data.columns import ArrayColumn
from core.data.samples import Data, Feed, Samples
from core.decisions import Decisions
from core.network.network import Network
from modelpress.data import Preparation
from modelpress.task import Classification, Match, Regression


def samples_of(
    inputs: dict[str, np.ndarray], labels: np.ndarray | None = None, role: str = "train", count: int | None = None
) -> Samples:
    """All samples, or the first `count`."""
    feeds = {name: Feed(ArrayColumn(array), Preparation(), array.dtype) for name, array in inputs.items()}
    total = len(next(iter(inputs.values())))
    return Samples(role, feeds, labels, np.arange(total if count is None else count))


def context_for(
    original: Network,
    folder: Path,
    train: Samples,
    select: Samples | None = None,
    task: Classification | Regression | Match | None = None,
    seed: int = 0,
    say=lambda fraction, message: None,
) -> Context:
    """The step's view; what it warned of is in `warnings`."""
    nothing = samples_of({}, None) if not train.feeds else train.take(0)
    warnings: list[tuple[str, str]] = []
    context = Context(
        data=Data(train, train.take(512), select if select is not None else nothing, nothing),
        task=task or Match(),
        original=original,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(seed),
        folder=folder,
        step=0,
        clock=Clock(3600.0),
        decisions=Decisions(folder / "decisions.json"),
        say=say,
        tell=lambda code, message: warnings.append((code, message)),
    )
    context.warnings = warnings  # type: ignore[attr-defined]  for the test to look at
    return context

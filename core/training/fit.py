"""The one training loop: towards the original's outputs, the labels, or both.

Deterministic for a generator on one device class, cut off and resumed or not.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, fx, nn

from core.network.opaque import OpaqueNode
from core.quantizers import ActivationQuantizer
from core.training.lessons import Lesson, Lessons
from core.training.objective import Objective
from core.training.schedule import Optimiser, cosine, optimiser_of
from core.training.score import Score, score
from core.training.state import Position, load_state, restore_optimiser, save_state
from modelpress.problem import StepError

SAVE_EVERY_SECONDS = 600.0
SAY_EVERY_SECONDS = 1.0
WIDEST_GRADIENT = 5.0
"""Norm at which a gradient is clipped, so that one odd batch right after surgery does not undo the weights."""
MOST_DIVERGENCES = 3
LOOK_EVERY = 50
"""Steps between two looks at whether the loss is still finite; each look waits for the device."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to fit.

    Attributes:
        epochs: passes over the training data; a fraction is allowed.
        learning_rate: peak step size; it rises briefly, then falls along half a cosine.
        patience: epochs without a better score before it stops; None never stops.
        train_norms: whether batch norms use the batch's statistics and update their own.
    """

    epochs: float
    learning_rate: float
    batch_size: int = 64
    optimiser: Optimiser = "sgd"
    weight_decay: float = 1e-4
    patience: int | None = None
    train_norms: bool = True


@dataclass(frozen=True)
class FitReport:
    """What a fit did. Scores are on the selection data, None without them."""

    steps: int
    epochs: float
    first: Score | None
    best: Score | None
    stopped: Literal["done", "patience", "diverged"]
    seconds: float
    losses: list[float] = field(default_factory=list)
    """Mean training loss of each epoch since the last start."""

    @property
    def seconds_per_epoch(self) -> float:
        return self.seconds / self.epochs if self.epochs else 0.0

    def __str__(self) -> str:
        figures = f", {self.first} -> {self.best}" if self.best else ""
        return f"{self.epochs:.3g} epochs ({self.stopped}), {self.seconds_per_epoch:.2g} s each{figures}"


Say = Callable[[float, str], None]
Warn = Callable[[str, str], None]


def silent(*_: object) -> None:
    """Says nothing to nobody."""


def fit(
    graph: fx.GraphModule,
    objective: Objective,
    train: Lessons,
    select: Lessons | None,
    plan: Plan,
    *,
    generator: torch.Generator,
    device: torch.device,
    say: Say = silent,
    warn: Warn = silent,
    state: Path | None = None,
) -> FitReport:
    """Train the parameters of `graph` in place, and leave it in eval mode in its best state.

    Args:
        graph: on `device`; batch axis free; gives what `objective` compares.
        select: decides the best state, the one at the start included; without it the last state stays.
        generator: on the CPU; orders the samples.
        say: called with a fraction and a message about once a second; what it raises ends the fit, resumably.
        state: file for the resumable state; written every ten minutes, read if it is there, removed at the end.

    Raises:
        StepError: no gradient reaches any parameter.
    """
    return _Fit(graph, objective, train, select, plan, generator, device, say, warn, state).run()


@dataclass
class _Fit:
    graph: fx.GraphModule
    objective: Objective
    train: Lessons
    select: Lessons | None
    plan: Plan
    generator: torch.Generator
    device: torch.device
    say: Say
    warn: Warn
    path: Path | None

    def __post_init__(self) -> None:
        self.per_epoch = self.train.steps(self.plan.batch_size)
        self.steps = max(1, round(self.plan.epochs * self.per_epoch))
        self.parameters = [p for p in self.graph.parameters() if p.requires_grad]
        self.optimiser = self._new_optimiser()
        self.position = Position()
        self.order = self.generator.get_state()
        self.best: dict[str, Tensor] = {}
        self.first: Score | None = None
        self.losses: list[float] = []
        self.began = self.saved = self.said = time.monotonic()
        self.steps_before = 0
        exact = any(isinstance(module, OpaqueNode | ActivationQuantizer) for module in self.graph.modules())
        self.is_mixed = self.device.type == "cuda" and not exact

    def run(self) -> FitReport:
        self.graph.eval()
        self._check_gradient()
        self._start()
        stopped: Literal["done", "patience", "diverged"] = "done"
        while self.position.step < self.steps:
            if not self._epoch():
                if not self._recover_from_divergence():
                    stopped = "diverged"
                    break
                continue
            if self._judge() and self.position.step < self.steps:
                stopped = "patience"
                break
        self._finish()
        epochs = self.position.step / self.per_epoch
        seconds = time.monotonic() - self.began
        return FitReport(self.position.step, epochs, self.first, self.position.best, stopped, seconds, self.losses)

    def _start(self) -> None:
        saved = load_state(self.path, self._fingerprint()) if self.path else None
        if self.select is not None:
            self.first = score(self.graph, self.select, self.objective, self._beat)
        if saved is None:
            self.position.best, self.best = self.first, self._snapshot()
            return
        self.position, self.order = saved.position, saved.order
        self.best = {name: tensor.to(self.device) for name, tensor in saved.best.items()}
        self._restore(saved.now)
        restore_optimiser(self.optimiser, saved.optimiser)
        self.steps_before = self.position.step

    def _epoch(self) -> bool:
        """The rest of one pass. Returns whether the loss stayed finite."""
        self.generator.set_state(self.order)
        self._training_mode()
        total = torch.zeros((), device=self.device)
        done = 0
        for batch in self._batches():
            total += self._step(batch)
            done += 1
            self.position.batch += 1
            self.position.step += 1
            last = self.position.batch == self.per_epoch or self.position.step == self.steps
            if (last or self.position.batch % LOOK_EVERY == 0) and not bool(total.isfinite()):
                return False
            self._report(total, done)
            if last:
                break
            self._save_if_due()
        self.position.epoch, self.position.batch = self.position.epoch + 1, 0
        self.order = self.generator.get_state()
        self.losses.append(float(total) / max(1, done))
        return True

    def _batches(self) -> Iterator[Lesson]:
        return self.train.shuffled(self.plan.batch_size, self.generator, self.position.batch)

    def _step(self, batch: Lesson) -> Tensor:
        factor = cosine(self.position.step, self.steps) * self.position.slower
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.learning_rate * factor
        self.optimiser.zero_grad(set_to_none=True)
        with self._precision():
            found = self.graph(*batch.inputs)
        loss = self.objective(found, batch.wanted, batch.labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, WIDEST_GRADIENT)
        self.optimiser.step()
        return loss.detach()

    def _precision(self) -> torch.autocast | nullcontext[None]:
        """Mixed on a GPU; not where an opaque operator or a quantiser would see the rounded values."""
        return torch.autocast("cuda", torch.bfloat16) if self.is_mixed else nullcontext()

    def _judge(self) -> bool:
        """Score the state after an epoch, keep it if it is the best. Returns whether patience is at its end."""
        if self.select is None:
            self.best = self._snapshot()
            return False
        found = score(self.graph, self.select, self.objective, self._beat)
        if found.is_better_than(self.position.best):
            self.position.best, self.position.worse, self.best = found, 0, self._snapshot()
            return False
        self.position.worse += 1
        return self.plan.patience is not None and self.position.worse >= self.plan.patience

    def _recover_from_divergence(self) -> bool:
        """Back to the best state with a tenth of the step size; False once that was done too often."""
        self.position.divergences += 1
        self.position.slower *= 0.1
        self._restore(self.best)
        self.optimiser = self._new_optimiser()
        self.position.epoch, self.position.batch = self.position.epoch + 1, 0
        self.order = self.generator.get_state()
        at = self.position.step
        self.warn("fit_diverged", f"the loss was no longer finite at step {at}; went back to the best state")
        return self.position.divergences <= MOST_DIVERGENCES

    def _finish(self) -> None:
        self._restore(self.best)
        self.graph.eval()
        self.optimiser.zero_grad(set_to_none=True)
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _training_mode(self) -> None:
        """Only batch norms learn statistics; imported dropout stays off."""
        self.graph.eval()
        for module in self.graph.modules():
            if self.plan.train_norms and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()

    def _check_gradient(self) -> None:
        batch = next(self.train.shuffled(self.plan.batch_size, torch.Generator().manual_seed(0)))
        loss = self.objective(self.graph(*batch.inputs), batch.wanted, batch.labels)
        if not loss.requires_grad:
            raise StepError(
                "no gradient reaches any weight: every path to the outputs crosses an operator that runs opaquely",
                hint="Leave out steps that train, or export the model with standard operators.",
            )

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return optimiser_of(self.plan.optimiser, self.parameters, self.plan.learning_rate, self.plan.weight_decay)

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.graph.state_dict().items()}

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        self.graph.load_state_dict(tensors)

    def _fingerprint(self) -> str:
        return f"{self.plan} {replace(self.objective, outputs=())} {len(self.train)}"

    def _save_if_due(self) -> None:
        if time.monotonic() - self.saved >= SAVE_EVERY_SECONDS:
            self._save()

    def _save(self) -> None:
        if self.path is not None:
            save_state(self.path, self._fingerprint(), self.position, self.graph, self.best, self.optimiser, self.order)
        self.saved = time.monotonic()

    def _report(self, total: Tensor, done: int) -> None:
        if time.monotonic() - self.said < SAY_EVERY_SECONDS:
            return
        elapsed = time.monotonic() - self.began
        left = elapsed / (self.position.step - self.steps_before) * (self.steps - self.position.step)
        epoch, loss = f"epoch {self.position.epoch + 1} of {self.plan.epochs:g}", float(total) / done
        self._tell(f"{epoch}, loss {loss:.4g}, {left:.0f} s left")

    def _beat(self) -> None:
        """A sign of life while the selection data are run."""
        if time.monotonic() - self.said >= SAY_EVERY_SECONDS:
            self.said = time.monotonic()
            self.say(self.position.step / self.steps, "looking at the selection data")

    def _tell(self, message: str) -> None:
        self.said = time.monotonic()
        try:
            self.say(self.position.step / self.steps, message)
        except BaseException:  # whoever listens ends the job this way; the fit goes on from here
            self._save()
            raise

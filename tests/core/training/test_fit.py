"""The loop on a student that can match its teacher exactly: a linear map of 8 numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx, nn

from core.training.fit import FitReport, Plan, fit
from core.training.lessons import Lessons
from core.training.objective import Objective, Output
from core.training.schedule import cosine, optimiser_of
from modelpress.problem import StepError
from tests.core.techniques.contexts import samples_of

CPU = torch.device("cpu")
PLAN = Plan(epochs=6, learning_rate=0.1, batch_size=16)


class Map(nn.Module):
    def __init__(self, seed: int, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(3) if norm else nn.Identity()

    def forward(self, x):
        return (self.norm(self.linear(x)),)


def lessons(count: int = 200, labels: np.ndarray | None = None, seed: int = 0, **kwargs) -> Lessons:
    inputs = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    teacher = fx.symbolic_trace(Map(1).eval())
    return Lessons(samples_of({"x": inputs}, labels), lambda named: (named["x"],), teacher, CPU, **kwargs)


def student(**kwargs) -> fx.GraphModule:
    return fx.symbolic_trace(Map(2, **kwargs))


def run(graph, plan=PLAN, train=None, select=None, objective=None, seed=0, **kwargs) -> FitReport:
    objective = objective or Objective((Output("logits"),))
    train = train or lessons()
    generator = torch.Generator().manual_seed(seed)
    return fit(graph, objective, train, select, plan, generator=generator, device=CPU, **kwargs)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["logits", "numbers"])
def test_a_student_learns_its_teacher(optimiser, kind):
    report = run(
        student(),
        replace(PLAN, optimiser=optimiser, weight_decay=0.0),
        select=lessons(50, seed=1),
        objective=Objective((Output(kind),)),
    )
    assert report.first is not None
    assert report.best is not None
    assert report.best.loss < 0.1 * report.first.loss
    assert report.steps == 6 * 12


def test_the_seed_decides_everything():
    first, again, other = student(), student(), student()
    run(first, seed=3), run(again, seed=3), run(other, seed=4)
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("most_bytes", [None, 0], ids=["resident", "streamed"])
@pytest.mark.parametrize("cut_at", [0.3, 0.5, 0.97])
def test_a_fit_that_is_cut_off_ends_where_an_undisturbed_one_does(tmp_path, monkeypatch, optimiser, most_bytes, cut_at):
    monkeypatch.setattr("core.training.fit.SAY_EVERY_SECONDS", 0.0)
    plan = replace(PLAN, optimiser=optimiser, patience=5)
    train, select = lessons(most_bytes=most_bytes), lessons(50, seed=1)
    undisturbed, cut, resumed = (student(norm=True) for _ in range(3))
    run(undisturbed, plan, train, select)

    def stop(fraction, message):
        if fraction > cut_at:
            raise KeyboardInterrupt

    state = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(cut, plan, train, select, say=stop, state=state)
    assert state.is_file()
    report = run(resumed, plan, train, select, state=state)
    assert same(resumed, undisturbed)
    assert report.steps == 72
    assert not state.exists()


def test_a_state_of_another_plan_is_not_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr("core.training.fit.SAY_EVERY_SECONDS", 0.0)
    state = tmp_path / "fit.safetensors"

    def stop(fraction, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(student(), say=stop, state=state)
    other, fresh = student(), student()
    run(other, replace(PLAN, learning_rate=0.05), state=state)
    run(fresh, replace(PLAN, learning_rate=0.05))
    assert same(other, fresh)


def test_a_long_fit_writes_its_state_as_it_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("core.training.fit.SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("core.training.fit.SAY_EVERY_SECONDS", 0.0)
    seen = []
    run(student(), say=lambda *_: seen.append(any(tmp_path.iterdir())), state=tmp_path / "fit.safetensors")
    assert seen[0] is False
    assert all(seen[1:12])
    assert not any(tmp_path.iterdir())


def test_the_best_state_is_kept_the_first_one_included():
    """Labels that mislead in training: every step makes the selection worse."""
    teacher_labels = np.zeros(200, np.int64)
    graph, untouched = student(), student()
    objective = Objective((Output("logits"),), labels="classes", soft_weight=0.0)
    select = lessons(50, labels=np.full(50, 2), seed=1)
    report = run(graph, replace(PLAN, patience=2), lessons(labels=teacher_labels), select, objective)
    assert report.stopped == "patience"
    assert report.epochs == 2
    assert report.best == report.first
    assert same(graph, untouched)


def test_more_labels_met_is_better_whatever_the_loss():
    labels = np.tile([0, 1, 2], 67)[:200]
    report = run(
        student(),
        PLAN,
        lessons(labels=labels),
        lessons(60, labels=labels[:60], seed=1),
        Objective((Output("logits"),), labels="classes", soft_weight=0.5),
    )
    assert report.best is not None
    assert report.best.top1 is not None
    assert report.first is not None
    assert report.best.top1 >= (report.first.top1 or 0)


def test_divergence_goes_back_and_is_told():
    told = []
    graph = student()
    report = run(
        graph,
        replace(PLAN, learning_rate=1e30),
        select=lessons(50, seed=1),
        objective=Objective((Output("numbers"),)),
        warn=lambda code, message: told.append(code),
    )
    assert set(told) == {"fit_diverged"}
    assert report.stopped == "diverged"
    assert same(graph, student())


def test_norms_learn_statistics_only_where_asked():
    trained, frozen = student(norm=True), student(norm=True)
    run(trained)
    run(frozen, replace(PLAN, train_norms=False))
    assert not trained.norm.running_mean.equal(torch.zeros(3))
    assert frozen.norm.running_mean.equal(torch.zeros(3))
    assert not trained.training
    assert not trained.norm.training


def test_a_fraction_of_an_epoch_is_a_fraction_of_its_steps():
    assert run(student(), replace(PLAN, epochs=0.5)).steps == 6
    assert run(student(), replace(PLAN, epochs=1.25)).steps == 15


def test_fewer_samples_than_a_batch_are_one_batch():
    assert run(student(), train=lessons(5)).steps == 6


def test_progress_says_epoch_loss_and_time_left(monkeypatch):
    monkeypatch.setattr("core.training.fit.SAY_EVERY_SECONDS", 0.0)
    said = []
    run(student(), say=lambda fraction, message: said.append((fraction, message)))
    assert [fraction for fraction, _ in said] == [pytest.approx((k + 1) / 72) for k in range(72)]
    assert said[0][1].startswith("epoch 1 of 6, loss ")
    assert said[-1][1].endswith("0 s left")


def test_a_network_without_gradient_is_refused():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 3)

        def forward(self, x):
            return (self.linear(x).detach(),)

    with pytest.raises(StepError, match="no gradient reaches any weight"):
        run(fx.symbolic_trace(Fixed()))


def test_the_step_size_rises_and_falls_to_almost_nothing():
    factors = [cosine(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.2, rel=1e-2)
    assert max(factors) == factors[4]
    assert factors[50] == pytest.approx(0.5)
    assert factors[99] < 1e-3


def test_only_matrices_decay():
    optimiser = optimiser_of("sgd", Map(0).parameters(), 0.1, 0.01)
    decays = {tuple(p.shape): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays == {(3, 8): 0.01, (3,): 0.0}


def test_lessons_are_kept_where_they_fit_and_made_anew_where_not():
    kept, streamed = lessons(), lessons(most_bytes=200 * (8 + 3) * 4 - 1)
    assert kept.is_resident
    assert not streamed.is_resident
    for mine, its in zip(kept.ordered(64), streamed.ordered(64), strict=True):
        assert mine.inputs[0].equal(its.inputs[0])
        torch.testing.assert_close(mine.wanted[0], its.wanted[0])
    orders = [list(x.shuffled(64, torch.Generator().manual_seed(5))) for x in (kept, streamed)]
    assert [len(order) for order in orders] == [3, 3]
    assert all(a.inputs[0].equal(b.inputs[0]) for a, b in zip(*orders, strict=True))

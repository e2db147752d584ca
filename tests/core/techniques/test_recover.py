import numpy as np
import pytest
import torch
from torch import nn

from core.formulas import AffineInt8, BiasInt32, attach
from core.network.network import Network
from core.techniques.recovery.recover import counterparts, recover, win_back_statistics
from core.training.statistics import (
    correct_channels,
    layer_moments,
    moments_of,
    norms_of,
    reestimate,
    rescale,
    samples_that_fit,
)
from core.zoo.build import build
from modelpress.problem import StepError
from modelpress.steps import Recover
from modelpress.task import Classification, Match
from tests.core.techniques.contexts import context_for, samples_of


def images(count: int, channels: int = 1, side: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    return {"input": np.random.default_rng(seed).normal(size=(count, channels, side, side)).astype(np.float32)}


def lenet(seed: int = 0) -> Network:
    """Convolutions and linear layers, no norm: (1, 16, 16) to 5 classes."""
    return Network.from_proto(build("lenet_5", (1, 16, 16), 5, width=0.2, seed=seed))


def resnet() -> Network:
    return Network.from_proto(build("resnet20", (1, 12, 12), 5, width=0.25))


def disturb(network: Network, factor: float, seed: int = 1) -> None:
    """Multiply each filter by its own factor around 1, as quantisation and pruning do at random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.layers(having="weight", kinds=("Conv", "Gemm")):
            shape = (-1, *(1 for _ in layer.weight.shape[1:]))
            layer.weight.mul_((1 + factor * torch.rand(layer.out_channels, generator=generator)).reshape(shape))


def test_batch_norms_get_the_mean_and_variance_of_their_input():
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(9.0)
    norm.num_batches_tracked.fill_(100)  # as after training
    x = torch.randn(64, 3, 4, 4) * 2 + 1
    assert reestimate(torch.fx.symbolic_trace(nn.Sequential(norm)), [(x[:32],), (x[32:],)]) == 1
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, torch.stack([h.var((0, 2, 3)) for h in (x[:32], x[32:])]).mean(0))
    assert norm.momentum == 0.1
    assert not norm.training


def test_without_a_norm_nothing_is_run():
    assert reestimate(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2))), iter([])) == 0


@pytest.mark.parametrize("module", [nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, 3, bias=False), nn.Linear(5, 4)])
def test_a_layer_takes_on_the_mean_and_deviation_that_are_wanted(module):
    """Worked against the definition: after the correction the output has exactly these moments."""
    torch.manual_seed(0)
    x = torch.randn(8, 5) if isinstance(module, nn.Linear) else torch.randn(8, 3, 6, 6)
    graph = torch.fx.symbolic_trace(nn.Sequential(module))
    for node in graph.graph.nodes:
        if node.op == "call_module":
            node.meta["layer"] = "it"
    before = moments_of(module(x), 1)
    wanted = type(before)(before.mean + torch.tensor([1.0, -2.0, 0.0, 3.0]), before.deviation * 1.5)
    assert correct_channels(graph, (x,), {"it": wanted}) == 1
    after = moments_of(module(x), 1)
    torch.testing.assert_close(after.mean, wanted.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.deviation, wanted.deviation, atol=1e-5, rtol=1e-5)


def test_filters_scaled_one_by_one_are_put_right_exactly(tmp_path):
    original, network = lenet(), lenet()
    disturb(network, 0.8)
    train = samples_of(images(64, side=16))
    ctx = context_for(original, tmp_path, train, samples_of(images(32, side=16, seed=1)))
    win_back_statistics(network, ctx)
    x = torch.from_numpy(images(8, side=16, seed=2)["input"])
    torch.testing.assert_close(network.graph(x)[0], original.graph(x)[0], atol=1e-4, rtol=1e-3)
    assert "4 layers corrected on 64 samples" in ctx.notes[0]


def test_a_dead_channel_is_not_blown_up(tmp_path):
    original, network = lenet(), lenet()
    with torch.no_grad():
        network.layer("conv1").weight[0] = 0.0
    ctx = context_for(original, tmp_path, samples_of(images(64, side=16)))
    win_back_statistics(network, ctx)
    assert not network.layer("conv1").weight[0].any()
    assert all(torch.isfinite(p).all() for p in network.graph.parameters())


def test_norms_are_estimated_anew_where_there_are_any(tmp_path):
    original, network = resnet(), resnet()
    disturb(network, 1.0)
    ctx = context_for(original, tmp_path, samples_of(images(256)), samples_of(images(64, seed=1)))
    before = [norm.running_mean.clone() for norm in norms_of(network.graph)]
    recover(network, Recover(epochs=0), ctx)
    assert ctx.notes[0].startswith("19 batch norms estimated anew on 256 samples (loss ")
    assert any(not a.equal(b.running_mean) for a, b in zip(before, norms_of(network.graph), strict=True))


def test_statistics_that_do_harm_are_taken_back(tmp_path):
    """Calibration data far from what the selection data are like."""
    original, network = lenet(), lenet()
    far = {"input": images(64, side=16)["input"] * 0 + 3.0}
    ctx = context_for(original, tmp_path, samples_of(far), samples_of(images(32, side=16, seed=1)))
    weights = network.layer("conv1").weight.clone()
    win_back_statistics(network, ctx)
    assert "taken back" in ctx.notes[0]
    assert network.layer("conv1").weight.equal(weights)


def test_the_last_part_of_a_chain_stands_for_the_layer(tmp_path):
    original, network = lenet(), lenet()
    network.replace(network.layer("fc1"), {"down": nn.Linear(40, 4, bias=False), "up": nn.Linear(4, 100)})
    pairs = counterparts(network, original)
    assert pairs == {"conv1": "conv1", "conv2": "conv2", "fc1/up": "fc1", "fc2": "fc2"}


def test_a_layer_with_other_channels_is_left_alone():
    original = lenet()
    x = torch.from_numpy(images(8, side=16)["input"])
    moments = layer_moments(original.graph, (x,), {"conv1", "conv2"})
    assert correct_channels(original.graph, (x,), {"conv1": moments["conv2"]}) == 0


def test_as_many_samples_go_through_at_once_as_memory_allows(monkeypatch):
    x = torch.zeros(1, 1, 16, 16)
    assert samples_that_fit(lenet().graph, (x,), 512) == 512
    monkeypatch.setattr("core.training.statistics.MOST_BYTES", 64 * 1024)
    assert 1 <= samples_that_fit(lenet().graph, (x,), 512) < 20


@pytest.mark.parametrize("task", [Match(), Classification()], ids=["inputs only", "labels"])
def test_fine_tuning_brings_a_disturbed_network_back_to_its_original(tmp_path, task):
    original, network = lenet(), lenet()
    with torch.no_grad():
        for parameter in network.graph.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    data, held_out = images(256, side=16), images(128, side=16, seed=1)
    labels = [original.graph(torch.from_numpy(d["input"]))[0].argmax(1).numpy() for d in (data, held_out)]
    if isinstance(task, Match):
        labels = [None, None]
    ctx = context_for(original, tmp_path, samples_of(data, labels[0]), samples_of(held_out, labels[1]), task)
    x = torch.from_numpy(images(200, side=16, seed=2)["input"])
    before = float((network.graph(x)[0] - original.graph(x)[0]).detach().square().mean())
    recover(network, Recover(epochs=6, batch_size=16, learning_rate=0.02), ctx)
    after = float((network.graph(x)[0] - original.graph(x)[0]).detach().square().mean())
    assert after < 0.5 * before
    assert ctx.notes[-1].startswith("fine-tuned: ")
    assert not any(tmp_path.glob("fit*"))


def test_without_training_data_it_says_so(tmp_path):
    empty = samples_of(images(4, side=16), count=0)
    with pytest.raises(StepError, match="no training data"):
        recover(lenet(), Recover(), context_for(lenet(), tmp_path, empty))


def test_a_layer_whose_numbers_are_formulas_keeps_its_scale_and_gets_the_mean_that_is_wanted():
    """As after quantisation: the bias stays in its integers."""
    torch.manual_seed(0)
    module, x = nn.Conv2d(3, 4, 3), torch.randn(8, 3, 6, 6)
    for tensor, formula in (("weight", AffineInt8()), ("bias", BiasInt32(torch.full((4,), 1e-3)))):
        formula.fit(getattr(module, tensor).detach())
        attach(module, formula, tensor)
    before = moments_of(module(x), 1)
    scale, shift = torch.ones(4), torch.tensor([0.5, -0.5, 0.0, 1.0])
    rescale(module, scale, shift)
    after = moments_of(module(x), 1)
    torch.testing.assert_close(after.mean, before.mean + shift, atol=1e-3, rtol=0)
    torch.testing.assert_close(after.deviation, before.deviation)

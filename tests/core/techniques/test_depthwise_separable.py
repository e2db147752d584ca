import numpy as np
import pytest
import torch
from torch import nn

from core.network.network import Network
from core.techniques.filters.depthwise_separable import factored, fit_chain, separate_by_depth, separated
from core.techniques.parts import parameter_count
from core.training.inside import around, seen
from core.zoo.build import build
from modelpress.problem import StepError
from modelpress.steps import DepthwiseSeparable
from tests.core.techniques.contexts import context_for, samples_of


def test_a_kernel_of_rank_one_in_each_channel_is_found_exactly():
    torch.manual_seed(0)
    for layer, shape in [(nn.Conv2d(3, 5, 3, stride=2, padding=1), (2, 3, 9, 9)), (nn.Conv1d(3, 4, 5), (2, 3, 9))]:
        window = layer.weight.shape[2:]
        depthwise, pointwise = torch.randn(3, *window), torch.randn(layer.out_channels, 3)
        layer.weight.data = torch.einsum("nc,c...->nc...", pointwise, depthwise)
        x = torch.randn(shape)
        chain = nn.Sequential(*factored(layer).parts.values())
        torch.testing.assert_close(chain(x), layer(x), atol=1e-5, rtol=1e-4)


def test_each_channels_error_is_what_its_singular_values_leave_out():
    torch.manual_seed(0)
    kernel = torch.randn(6, 4, 3, 3)
    depthwise, pointwise = separated(kernel)
    for c in range(4):
        left_out = kernel[:, c].flatten(1) - torch.outer(pointwise[:, c], depthwise[c].flatten())
        singular = torch.linalg.svdvals(kernel[:, c].flatten(1))
        torch.testing.assert_close(left_out.norm(), singular[1:].norm(), rtol=1e-4, atol=1e-5)


def test_the_cost_is_one_over_outputs_plus_one_over_the_window():
    """Howard et al. 2017, equation 5."""
    layer = nn.Conv2d(16, 32, 3, bias=False)
    found = factored(layer)
    assert found.cost == pytest.approx(1 / 32 + 1 / 9)
    assert parameter_count(found.parts.values()) == 16 * 9 + 16 * 32


def test_fitting_lowers_the_error_and_never_raises_it():
    """Inputs whose neighbours are alike: on white noise the singular vectors are the best there is."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 6, 3), torch.randn(64, 4, 6, 6).cumsum(2).cumsum(3)
    wanted = layer(x).detach()
    for rate, better in ((0.01, True), (1e6, False)):
        chain = nn.Sequential(*factored(layer).parts.values())
        step = DepthwiseSeparable(iterations=60)
        step = step.model_copy(update={"learning_rate": rate})
        first, last = fit_chain(chain, x, wanted, step, torch.Generator().manual_seed(0))
        assert (last < 0.9 * first) if better else (last == first)


def network() -> Network:
    return Network.from_proto(build("lenet_5", (1, 16, 16), 5, width=0.4))


def images(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"input": np.random.default_rng(seed).normal(size=(count, 1, 16, 16)).astype(np.float32)}


def test_a_layer_inside_is_seen_with_its_input_and_output():
    lenet, x = network(), torch.from_numpy(images(3)["input"])
    given, wanted = seen(lenet.train_graph(), "conv2", [[x[:2]], [x[2:]]])
    torch.testing.assert_close(lenet.layer("conv2").module(given), wanted)
    assert [n for n in around(lenet.graph, "conv1").graph.nodes if n.meta.get("layer") == "conv2"] == []


def test_layers_are_replaced_and_fitted_one_after_the_other(tmp_path):
    lenet = network()
    ctx = context_for(network(), tmp_path, samples_of(images(128)))
    separate_by_depth(lenet, DepthwiseSeparable(iterations=40, learning_rate=0.01), ctx)
    names = [layer.name for layer in lenet.layers(having="weight")]
    assert names == ["conv1/depthwise", "conv1/pointwise", "conv2/depthwise", "conv2/pointwise", "fc1", "fc2"]
    assert [note.split(":")[0] for note in ctx.notes] == ["conv1", "conv2"]
    assert "fitted" in ctx.notes[1]
    again = Network.from_proto(lenet.to_proto())
    x = torch.from_numpy(images(4, seed=1)["input"])
    torch.testing.assert_close(again.graph(x)[0], lenet.graph(x)[0], atol=1e-5, rtol=1e-4)


def test_fitting_beats_the_start_on_data_it_has_not_seen(tmp_path):
    x = torch.from_numpy(images(64, seed=1)["input"])
    wanted = network().graph(x)[0].detach()
    errors = []
    for iterations in (0, 100):
        lenet = network()
        ctx = context_for(network(), tmp_path, samples_of(images(256)))
        separate_by_depth(lenet, DepthwiseSeparable(iterations=iterations, learning_rate=0.01), ctx)
        errors.append(float((lenet.graph(x)[0].detach() - wanted).square().mean()))
    assert errors[1] < errors[0]


def test_a_pointwise_convolution_is_left_alone_and_a_linear_layer_is_no_choice(tmp_path):
    resnet = Network.from_proto(build("resnet20", (1, 8, 8), 3, width=0.25))
    resnet.replace(resnet.layer("conv1"), {"point": nn.Conv2d(1, 4, 1)})
    ctx = context_for(resnet.copy(), tmp_path, samples_of({"input": np.zeros((8, 1, 8, 8), np.float32)}))
    separate_by_depth(resnet, DepthwiseSeparable(iterations=0, layers=["conv1"]), ctx)
    assert ctx.notes == ["conv1/point: left alone, a 1 x 1 convolution is pointwise already"]
    with pytest.raises(StepError):
        separate_by_depth(resnet, DepthwiseSeparable(layers=["linear"]), ctx)

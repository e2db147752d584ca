"""Filter pruning: which channels go, how many, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from core.network.channels import analyse
from core.network.network import Network
from core.techniques.pruning import scores
from core.techniques.pruning.budget import CostModel, Pruner
from core.techniques.pruning.filters import layer_costs, prune_filters
from core.zoo.build import build
from modelpress import steps
from modelpress.problem import StepError
from tests.core.techniques.contexts import context_for, samples_of


def resnet() -> Network:
    return Network.from_proto(build("resnet20", (3, 32, 32), 10))


def chain(first: np.ndarray, second: np.ndarray, norm: bool = False) -> Network:
    """x (n, 3) -> first (4, 3) -> [batch norm] -> second (2, 4), without activations."""
    tensors = {"first.weight": first, "second.weight": second}
    nodes = [helper.make_node("Gemm", ["x", "first.weight"], ["h"], "first", transB=1)]
    if norm:
        tensors |= {"norm.weight": np.float32([1, 4, 2, 3]), "norm.bias": np.zeros(4, np.float32)}
        tensors |= {"norm.mean": np.zeros(4, np.float32), "norm.var": np.ones(4, np.float32)}
        names = ["h", "norm.weight", "norm.bias", "norm.mean", "norm.var"]
        nodes.append(helper.make_node("BatchNormalization", names, ["h2"], "norm"))
    nodes.append(helper.make_node("Gemm", [nodes[-1].output[0], "second.weight"], ["y"], "second", transB=1))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    return Network.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


FIRST = np.array([[1.0, -1.0, 0.0], [0.1, 0.1, 0.1], [2.0, 0.0, 0.0], [0.5, 0.5, -0.5]])
SECOND = np.array([[1.0, 9.0, 0.1, 1.0], [1.0, 9.0, 0.1, 1.0]])


def run(network: Network, step: steps.FilterPruning, folder: Path) -> list[str]:
    data = np.random.default_rng(0).standard_normal((16, *_sample_shape(network))).astype(np.float32)
    train = samples_of({network.input_names[0]: data})
    context = context_for(network.copy(), folder, train)
    prune_filters(network, step, context)
    return context.notes


def _sample_shape(network: Network) -> tuple[int, ...]:
    return (3, 32, 32) if network.input_names[0] == "input" else (3,)


def test_l1_keeps_the_filters_with_the_largest_absolute_weights(tmp_path: Path) -> None:
    network = chain(FIRST, SECOND)
    run(network, steps.FilterPruning(criterion="l1", ratio=0.5, round_to=1), tmp_path)
    np.testing.assert_allclose(network.layer("first").weight.detach().numpy(), FIRST[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(network.layer("second").weight.detach().numpy(), SECOND[:, [0, 2]], rtol=1e-6)


def test_l2_sees_the_columns_that_read_a_filter(tmp_path: Path) -> None:
    network = chain(FIRST, SECOND)
    run(network, steps.FilterPruning(criterion="l2", ratio=0.5, round_to=1), tmp_path)
    np.testing.assert_allclose(network.layer("first").weight.detach().numpy(), FIRST[[1, 2]], rtol=1e-6)


def test_the_scale_of_a_batch_norm_decides_where_it_is_asked_to(tmp_path: Path) -> None:
    network = chain(FIRST, SECOND, norm=True)
    run(network, steps.FilterPruning(criterion="bn_scale", ratio=0.5, round_to=1), tmp_path)
    np.testing.assert_allclose(network.layer("first").weight.detach().numpy(), FIRST[[1, 3]], rtol=1e-6)


def test_bn_scale_without_batch_norms_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="no batch norm") as caught:
        run(chain(FIRST, SECOND), steps.FilterPruning(criterion="bn_scale", ratio=0.5, round_to=1), tmp_path)
    assert "l2" in caught.value.hint


def test_taylor_is_the_loss_change_itself_where_the_loss_is_linear() -> None:
    network = chain(FIRST, SECOND)
    channels = analyse(network)
    x = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]])
    found = scores.taylor(network, channels, [network({"x": x})["y"].sum()])
    axis = channels.output_axis(str(network.layer("first").node.target))
    assert axis is not None
    hidden = x.double().numpy() @ FIRST.T  # (2, 4)
    change = hidden.sum(0) * SECOND.sum(0)  # what the loss loses with each hidden unit
    np.testing.assert_allclose(found[axis.ids], change**2, rtol=1e-5)


@pytest.mark.parametrize("criterion", ["l1", "l2", "bn_scale", "taylor"])
def test_half_the_macs_of_a_resnet_are_gone_and_counts_are_round(criterion: str, tmp_path: Path) -> None:
    network = resnet()
    before = macs_of(network)
    notes = run(network, steps.FilterPruning(criterion=criterion, macs=0.5), tmp_path)  # type: ignore[arg-type]
    assert 0.4 * before < macs_of(network) <= 0.5 * before
    assert all(layer.out_channels % 8 == 0 for layer in network.layers(kinds=["Conv"]))
    assert any("->" in note for note in notes)
    onnx.checker.check_model(network.to_proto(), full_check=True)


def test_the_target_is_met_as_closely_as_rounding_allows() -> None:
    network = resnet()
    channels = analyse(network)
    costs = layer_costs(network, channels)
    model = CostModel(costs, channels.groups, channels.count)
    pruner = Pruner(channels, channels.groups, scores.group_shares(network, channels), 4, together=True)
    for keep in (0.9, 0.7, 0.5, 0.3):
        removed = pruner.by_cost(costs, keep)
        kept = np.array([len(g.units) - removed[g.units].sum() for g in channels.groups], dtype=np.float64)
        assert model.total(kept) <= keep * model.total(model.sizes)
        for place, size in enumerate(model.sizes):
            more = kept.copy()
            more[place] = min(more[place] + 4, size)
            assert (more == kept).all() or model.total(more) > keep * model.total(model.sizes)


def test_a_target_that_can_t_be_met_is_told(tmp_path: Path) -> None:
    network = chain(FIRST, SECOND)
    train = samples_of({"x": np.ones((4, 3), np.float32)})
    context = context_for(network.copy(), tmp_path, train)
    prune_filters(network, steps.FilterPruning(macs=0.001, round_to=1), context)
    (code, text) = context.warnings[0]  # type: ignore[attr-defined]  the helper's list
    assert code == "macs_not_reached"
    assert "25.0%" in text


def test_the_cost_model_counts_what_is_really_left() -> None:
    network = resnet()
    channels = analyse(network)
    model = CostModel(layer_costs(network, channels), channels.groups, channels.count)
    assert model.total(model.sizes) == macs_of(network) == 40_551_040
    drop = np.minimum(model.sizes - 8, 8)
    for place, saved in enumerate(model.saved(model.sizes, drop)):
        kept = model.sizes.copy()
        kept[place] -= drop[place]
        assert saved == pytest.approx(model.total(model.sizes) - model.total(kept))


def macs_of(network: Network) -> float:
    """By torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network({"input": torch.zeros(1, 3, 32, 32)})
    return counter.get_total_flops() / 2


def test_each_layer_loses_its_own_fraction(tmp_path: Path) -> None:
    network = resnet()
    run(network, steps.FilterPruning(ratio=0.5, scope="layer"), tmp_path)
    assert network.layer("layer3.0.conv1").out_channels == 32
    assert network.layer("layer1.0.conv1").out_channels == 8
    assert network.layer("linear").out_channels == 10


def test_layers_that_are_tied_to_others_need_these_too(tmp_path: Path) -> None:
    step = steps.FilterPruning.model_validate({"ratio": 0.5, "layers": "layer1.0.conv2"})
    with pytest.raises(StepError, match="none of the chosen layers"):
        run(resnet(), step, tmp_path)
    network = resnet()
    run(network, steps.FilterPruning.model_validate({"ratio": 0.5, "layers": "layer1.0.conv1"}), tmp_path)
    changed = [
        layer.name
        for layer, old in zip(network.layers(), resnet().layers(), strict=True)
        if layer.out_channels != old.out_channels
    ]
    assert changed == ["layer1.0.conv1", "layer1.0.bn1"]


def test_a_cut_that_rounding_undoes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="rounding") as caught:
        run(resnet(), steps.FilterPruning(ratio=0.01, scope="layer"), tmp_path)
    assert "round_to" in caught.value.hint

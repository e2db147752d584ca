import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper

from core.formulas import Codebook, Masked
from core.network import Network
from core.techniques.pruning.magnitude import (
    keep_mask,
    magnitudes,
    prune_by_magnitude,
    scheduled,
    sparsity_of,
)
from core.techniques.sharing.codebook import share_by_codebook
from modelpress import steps
from modelpress.problem import StepError
from tests.core.network.models import model_of, run_onnx
from tests.core.techniques.contexts import context_for, samples_of
from tests.core.techniques.digits import digits, trained_model


def context(network: Network, folder):
    return context_for(network.copy(), folder, samples_of({"image": digits().images[:256]}))


def pruned(folder, **options) -> Network:
    network = Network.from_proto(trained_model())
    prune_by_magnitude(network, steps.MagnitudePruning(**options), context(network, folder))
    return network


def zeros(network: Network) -> dict[str, float]:
    return {layer.name: float((layer.weight == 0).double().mean()) for layer in network.layers(having="weight")}


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.99, 1.0])
def test_drops_exactly_the_fraction_asked_even_with_ties(sparsity):
    mask = keep_mask(torch.ones(10, 10), sparsity)
    assert (~mask).sum() == round(100 * sparsity)


def test_the_smallest_go_and_of_equal_ones_the_first():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 5.0]])
    assert keep_mask(scores, 0.5).tolist() == [[True, False, True], [False, False, True]]
    assert keep_mask(scores, 1 / 3).tolist() == [[True, False, True], [False, True, True]]


def test_the_schedule_is_zhu_and_guptas():
    assert [scheduled(0.0, 0.8, t / 4) for t in range(5)] == pytest.approx([0.0, 0.4625, 0.7, 0.7875, 0.8])


def test_the_schedule_goes_on_from_what_was_dropped_before_and_never_back():
    assert scheduled(0.5, 0.8, 0.0) == pytest.approx(0.5)
    assert scheduled(0.9, 0.8, 0.0) == scheduled(0.9, 0.8, 1.0) == 0.8


def test_each_layer_loses_the_fraction(tmp_path):
    found = zeros(pruned(tmp_path, sparsity=0.5))
    assert found == pytest.approx(dict.fromkeys(["conv1", "conv2", "depthwise", "linear"], 0.5), abs=0.004)


def test_all_layers_together_lose_the_fraction_where_their_weights_are_smallest(tmp_path):
    network = pruned(tmp_path, sparsity=0.7, scope="global")
    layers = network.layers(having="weight")
    dropped = sum(int((layer.weight == 0).sum()) for layer in layers)
    total = sum(layer.weight.numel() for layer in layers)
    assert dropped == round(0.7 * total)
    original = {layer.name: layer.weight.detach().abs() for layer in Network.from_proto(trained_model()).layers()}
    largest_dropped = max(float(original[x.name][x.weight == 0].max()) for x in layers)
    smallest_kept = min(float(original[x.name][x.weight != 0].min()) for x in layers)
    assert largest_dropped <= smallest_kept


def test_weights_that_are_kept_do_not_change(tmp_path):
    original = {layer.name: layer.weight.detach() for layer in Network.from_proto(trained_model()).layers()}
    for layer in pruned(tmp_path, sparsity=0.5).layers(having="weight"):
        kept = layer.weight != 0
        assert torch.equal(layer.weight[kept], original[layer.name][kept])


def test_gradual_cuts_train_in_between_and_end_at_the_fraction(tmp_path):
    network = pruned(tmp_path, sparsity=0.8, gradual=3, epochs=2.0)
    assert zeros(network) == pytest.approx(dict.fromkeys(["conv1", "conv2", "depthwise", "linear"], 0.8), abs=0.004)
    original = {layer.name: layer.weight.detach() for layer in Network.from_proto(trained_model()).layers()}
    for layer in network.layers(having="weight"):
        kept = layer.weight != 0
        assert not torch.equal(layer.weight[kept], original[layer.name][kept])


def test_what_a_second_step_drops_holds_what_the_first_one_did(tmp_path):
    network = pruned(tmp_path, sparsity=0.4)
    first = {layer.name: layer.weight == 0 for layer in network.layers(having="weight")}
    prune_by_magnitude(network, steps.MagnitudePruning(sparsity=0.6), context(network, tmp_path))
    assert all((layer.weight[first[layer.name]] == 0).all() for layer in network.layers(having="weight"))


def test_a_dropped_weight_ranks_below_a_kept_one_that_is_zero(tmp_path):
    network = pruned(tmp_path, sparsity=0.5)
    layer = network.layer("conv2")
    dropped = ~layer.formula.mask
    with torch.no_grad():
        layer.formula.values.zero_()
    assert torch.equal(magnitudes(layer) < 0, dropped)
    assert sparsity_of([magnitudes(layer)]) == 0.5


def test_shared_values_stay_shared_among_the_weights_that_are_kept(tmp_path):
    network = Network.from_proto(trained_model())
    share_by_codebook(network, steps.CodebookSharing(bits=3), context(network, tmp_path))
    prune_by_magnitude(network, steps.MagnitudePruning(sparsity=0.5), context(network, tmp_path))
    formula = network.layer("conv2").formula
    assert isinstance(formula, Masked)
    assert isinstance(formula.values, Codebook)
    assert network.layer("conv2").weight.unique().numel() <= 9


def test_the_file_computes_the_pruned_weights_and_is_smaller(tmp_path):
    network = pruned(tmp_path, sparsity=0.9)
    model = network.to_proto()
    onnx.checker.check_model(model)
    images = digits().images[:40]
    expected = network({"image": torch.from_numpy(images)})["logits"].detach().numpy()
    assert np.allclose(run_onnx(model, {"image": images})[0], expected, atol=1e-4)
    stored = {t.name for t in model.graph.initializer}
    assert {"conv2.weight.gaps", "conv2.weight.values"} <= stored
    assert model.ByteSize() < 0.6 * trained_model().ByteSize()


def test_a_moderately_pruned_network_still_reads_digits(tmp_path):
    assert digits().accuracy(pruned(tmp_path, sparsity=0.3).to_proto()) > 0.9


def test_a_saved_network_comes_back_with_its_masks(tmp_path):
    network = pruned(tmp_path, sparsity=0.5)
    network.save(tmp_path / "saved")
    back = Network.load(tmp_path / "saved")
    assert zeros(back) == zeros(network)
    assert isinstance(back.layer("conv2").formula, Masked)


def test_an_emptied_layer_is_warned_of(tmp_path):
    model = ModelProto()
    model.CopyFrom(trained_model())
    tensor = next(t for t in model.graph.initializer if t.name == "depthwise.weight")
    tensor.CopyFrom(numpy_helper.from_array(1e-9 * numpy_helper.to_array(tensor), tensor.name))
    network = Network.from_proto(model)
    ctx = context(network, tmp_path)
    prune_by_magnitude(network, steps.MagnitudePruning(sparsity=0.5, scope="global"), ctx)
    assert [code for code, _ in ctx.warnings] == ["layer_emptied"]


def test_tied_weights_are_pruned_once_and_stay_tied(tmp_path):
    nodes = [helper.make_node("MatMul", ["image", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    weight = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    network = Network.from_proto(model_of(nodes, {"image": ["n", 8]}, constants={"w": weight}))
    prune_by_magnitude(network, steps.MagnitudePruning(sparsity=0.5), context(network, tmp_path))
    first, second = network.layers(having="weight")
    assert first.formula is second.formula
    assert (first.weight == 0).sum() == 32


def test_a_choice_that_leaves_no_layer_is_an_error(tmp_path):
    with pytest.raises(StepError, match="no layer to work on"):
        pruned(tmp_path, layers={"types": ["ConvTranspose"]})

import numpy as np
import onnx
import pytest
import torch

from core.formulas import Codebook, Masked
from core.network import Network
from core.techniques.pruning.magnitude import prune_by_magnitude
from core.techniques.sharing.codebook import share_by_codebook
from modelpress import steps
from modelpress.problem import StepError
from tests.core.network.models import run_onnx
from tests.core.techniques.contexts import context_for, samples_of
from tests.core.techniques.digits import digits, trained_model


def context(network: Network, folder):
    return context_for(network.copy(), folder, samples_of({"image": digits().images[:256]}))


def shared(folder, **options) -> Network:
    network = Network.from_proto(trained_model())
    share_by_codebook(network, steps.CodebookSharing(**options), context(network, folder))
    return network


@pytest.mark.parametrize("bits", [1, 4, 6])
def test_a_layer_keeps_as_many_values_as_the_bits_tell_apart(bits, tmp_path):
    for layer in shared(tmp_path, bits=bits).layers(having="weight"):
        assert layer.weight.unique().numel() <= 2**bits


def test_more_bits_come_nearer_to_the_weights(tmp_path):
    original = Network.from_proto(trained_model()).layer("conv2").weight
    off = [(shared(tmp_path, bits=bits).layer("conv2").weight - original).norm().item() for bits in (2, 4, 6)]
    assert off[0] > 2 * off[1] > 4 * off[2]


def test_five_bits_still_read_digits(tmp_path):
    assert digits().accuracy(shared(tmp_path, bits=5).to_proto()) >= digits().accuracy(trained_model()) - 0.02


def test_a_layer_no_larger_than_the_table_is_left_alone(tmp_path):
    network = shared(tmp_path, bits=8)
    formulas = {layer.name: layer.formula for layer in network.layers(having="weight")}
    assert formulas["conv1"] is None  # 144 weights
    assert isinstance(formulas["conv2"], Codebook)


def test_what_pruning_dropped_stays_zero_and_takes_no_value(tmp_path):
    network = Network.from_proto(trained_model())
    prune_by_magnitude(network, steps.MagnitudePruning(sparsity=0.6), context(network, tmp_path))
    dropped = network.layer("conv2").weight == 0
    share_by_codebook(network, steps.CodebookSharing(bits=3), context(network, tmp_path))
    layer = network.layer("conv2")
    assert isinstance(layer.formula, Masked)
    assert torch.equal(layer.weight == 0, dropped)
    assert layer.weight[~dropped].unique().numel() <= 8


def test_fine_tuning_moves_values_and_keeps_assignments(tmp_path):
    before, after = shared(tmp_path, bits=2), shared(tmp_path, bits=2, epochs=1.0)
    first, second = before.layer("conv2").formula, after.layer("conv2").formula
    assert torch.equal(first.index, second.index)
    assert not torch.equal(first.values, second.values)
    assert after.layer("conv2").weight.unique().numel() <= 4


def test_the_file_computes_the_shared_weights_and_is_smaller(tmp_path):
    network = shared(tmp_path, bits=4)
    model = network.to_proto()
    onnx.checker.check_model(model)
    images = digits().images[:40]
    expected = network({"image": torch.from_numpy(images)})["logits"].detach().numpy()
    assert np.allclose(run_onnx(model, {"image": images})[0], expected, atol=1e-4)
    stored = {t.name: t.data_type for t in model.graph.initializer}
    assert stored["conv2.weight.index"] == onnx.TensorProto.UINT4
    assert model.ByteSize() < 0.5 * trained_model().ByteSize()


def test_a_saved_network_comes_back_with_its_tables(tmp_path):
    network = shared(tmp_path, bits=4)
    network.save(tmp_path / "saved")
    back = Network.load(tmp_path / "saved")
    assert torch.equal(back.layer("conv2").formula.index, network.layer("conv2").formula.index)
    assert torch.equal(back.layer("conv2").weight, network.layer("conv2").weight)


def test_a_choice_that_leaves_no_layer_is_an_error(tmp_path):
    with pytest.raises(StepError, match="no layer to work on"):
        shared(tmp_path, layers={"types": ["ConvTranspose"]})

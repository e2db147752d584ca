"""What the sound gate lets pass, and what it stops."""

import numpy as np
import onnx
import pytest
import torch

from core.gates.sound import check_sound
from core.interface import interface_of
from core.network.network import Network
from modelpress.problem import UnsoundError
from tests.core.job_folders import cnn

X = {"x": np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)}


def check(tmp_path, network, exported=None, wanted=None, floor=0.0):
    onnx.save(exported or network.to_proto(), tmp_path / "c.onnx")
    check_sound(network, tmp_path / "c.onnx", interface_of(wanted or cnn()), X, floor)


@pytest.fixture
def network():
    return Network.from_proto(cnn())


def test_a_changed_network_that_is_exported_well_passes(tmp_path, network):
    with torch.no_grad():
        network.layer("conv2").weight.mul_(0.5)
    check(tmp_path, network)


def test_a_file_that_is_no_valid_onnx_does_not_pass(tmp_path, network):
    exported = cnn()
    exported.graph.node[0].op_type = "Convolve"
    with pytest.raises(UnsoundError, match=r"not valid.*Convolve"):
        check(tmp_path, network, exported)


def test_an_output_need_not_say_its_rank(tmp_path):
    model = cnn()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    check(tmp_path, Network.from_proto(model), wanted=model)


def test_weights_that_are_no_numbers_do_not_pass(tmp_path, network):
    exported = network.to_proto()
    with torch.no_grad():
        network.layer("conv2").weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(UnsoundError, match="conv2"):
        check(tmp_path, network, exported)


def test_outputs_that_overflow_do_not_pass(tmp_path, network):
    with torch.no_grad():
        for name in ("conv1", "conv2"):
            network.layer(name).weight.fill_(1e30)
    with pytest.raises(UnsoundError, match="not finite"):
        check(tmp_path, network)


def test_an_export_that_computes_something_else_does_not_pass(tmp_path, network):
    exported = network.to_proto()
    with torch.no_grad():
        network.layer("conv1").weight.mul_(1.001)
    with pytest.raises(UnsoundError, match="differ by"):
        check(tmp_path, network, exported)


def test_an_ill_conditioned_original_allows_what_it_shows_itself(tmp_path, network):
    exported = network.to_proto()
    with torch.no_grad():
        network.layer("conv1").weight.mul_(1.001)
    check(tmp_path, network, exported, floor=0.01)


@pytest.mark.parametrize("batch", [1, 4])
def test_declared_axes_may_not_change(tmp_path, network, batch):
    with pytest.raises(UnsoundError, match="inputs changed"):
        check(tmp_path, network, wanted=cnn(batch=batch))


def test_what_is_no_onnx_does_not_pass(tmp_path, network):
    broken = cnn()
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(UnsoundError):
        check(tmp_path, network, broken)


def quantised():
    from core.quantizers.activation import ActivationQuantizer
    from core.quantizers.observers import Range

    network = Network.from_proto(cnn())
    for value in ("x", "b", "d"):
        edge = ActivationQuantizer(signed=value == "x")
        edge.set_range(Range(-4.0 if value == "x" else 0.0, 8.0))
        network.insert_after(value, edge.eval())
    return network


def test_rounded_activations_are_compared_at_each_quantiser(tmp_path):
    check(tmp_path, quantised())


def test_a_quantiser_that_is_written_wrongly_is_named(tmp_path):
    network = quantised()
    exported = network.to_proto()
    scales = [t for t in exported.graph.initializer if t.name.endswith("/scale")]
    scales[1].CopyFrom(onnx.numpy_helper.from_array(np.float32(0.5), scales[1].name))
    with pytest.raises(UnsoundError, match="at the quantiser"):
        check(tmp_path, network, exported)

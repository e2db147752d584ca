"""Random graphs of native operators: units zeroed in the parameters are units removed."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import ModelProto

from core.network.channels import analyse
from core.network.channels.surgery import zero_units
from core.network.network import Network
from tests.core.network.invariants import Subject, compare_removal, find_units
from tests.core.network.models import run_onnx
from tests.core.network.test_random_graphs import EXAMPLE, graphs, quickly


@quickly
@given(model=graphs(), seed=st.integers(0, 1000))
def test_units_zeroed_are_units_removed(model: ModelProto, seed: int):
    network, inputs = Network.from_proto(model), Subject(model, {"x": EXAMPLE}).inputs(seed)
    units = find_units(analyse(network), seed)
    assume(len(units))
    zeroed = network.copy()
    zero_units(zeroed, analyse(zeroed), units)
    assume(np.isfinite(run_onnx(zeroed.to_proto(), inputs)[0]).all())  # a divisor may have been zeroed
    compare_removal(network, units, inputs)

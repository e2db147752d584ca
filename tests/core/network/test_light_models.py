"""Channels of nine well-known networks in their real sizes: the onnx package's light models with random weights."""

import fnmatch

import numpy as np
import pytest

from core.network.channels import analyse
from core.network.network import Network
from tests.core.network import light
from tests.core.network.invariants import (
    CLOSE_WHEN_DEEP,
    Subject,
    check_locked_shows,
    check_neighbours_show,
    check_removal,
    locked_because,
    shares,
)

IS_OUTPUT = "it is an output of the model"
DIVIDES = "* divides it by its neighbours"

LOCKED = {
    "light_bvlc_alexnet": {IS_OUTPUT: 1, DIVIDES: 2},
    "light_densenet121": {IS_OUTPUT: 1},
    "light_inception_v1": {IS_OUTPUT: 1, DIVIDES: 2},
    "light_inception_v2": {IS_OUTPUT: 1},
    "light_resnet50": {IS_OUTPUT: 1},
    "light_shufflenet": {IS_OUTPUT: 1},
    "light_squeezenet": {IS_OUTPUT: 1},
    "light_vgg19": {IS_OUTPUT: 1},
    "light_zfnet512": {IS_OUTPUT: 1, DIVIDES: 2},
}
"""How many layers may be locked, by reason: the classifier, and what a local response normalisation reads."""

SMALL = ["light_squeezenet", "light_shufflenet"]
"""Seconds; the others take up to minutes and gigabytes."""

pytestmark = pytest.mark.timeout(3000)
"""The largest have 0.6 GB of weights, and are written and run several times."""

every_light = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in light.NAMES]
)


def subject(name: str) -> Subject:
    model = light.logits(light.load(name))
    return Subject(model, {model.graph.input[0].name: np.zeros((1, 3, 224, 224), np.float32)})


@every_light
@pytest.mark.parametrize("seed", range(2))
def test_units_zeroed_are_units_removed(name: str, seed: int):
    check_removal(subject(name), seed, CLOSE_WHEN_DEEP)


@every_light
def test_wrong_units_show(name: str):
    check_neighbours_show(subject(name), 0, CLOSE_WHEN_DEEP)
    check_locked_shows(subject(name), 0, CLOSE_WHEN_DEEP)


@every_light
def test_only_what_must_stay_is_locked(name: str):
    channels = analyse(Network.from_proto(subject(name).model))
    reasons = locked_because(channels)
    for reason, layers in reasons.items():
        assert any(fnmatch.fnmatch(reason, pattern) for pattern in LOCKED[name]), (reason, layers)
    for pattern, count in LOCKED[name].items():
        assert len(set().union(*(reasons[r] for r in reasons if fnmatch.fnmatch(r, pattern)))) == count
    whole = [layer for layer, share in shares(channels).items() if share == 1.0]
    assert len(whole) == len(shares(channels)) - sum(LOCKED[name].values())

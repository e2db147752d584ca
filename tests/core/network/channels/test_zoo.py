"""Channels of every network of the zoo: all of its layers made thin, and in its real size among the slow tests."""

import re

import pytest

from core.network.channels import analyse
from core.network.network import Network
from core.zoo.architectures import ARCHITECTURES
from tests.core.network import zoo
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
DIVIDES = r"norm\d\.out divides it by its neighbours"

LOCKED: dict[str, dict[str, set[str]]] = {
    "lenet_300_100": {IS_OUTPUT: {"fc3"}},
    "lenet_5": {IS_OUTPUT: {"fc2"}},
    "alexnet": {IS_OUTPUT: {"fc8"}, DIVIDES: {"conv1", "conv2"}},
    "alexnet_owt": {IS_OUTPUT: {"classifier.6"}},
    "nin": {IS_OUTPUT: {"classifier.20"}},
    "all_cnn_c": {IS_OUTPUT: {"class_conv"}},
    "vgg16": {IS_OUTPUT: {"classifier.6"}},
    "vgg19": {IS_OUTPUT: {"classifier.6"}},
    "vgg16_bn": {IS_OUTPUT: {"fc2"}},
    "vgg19_bn": {IS_OUTPUT: {"classifier"}},
    **{f"resnet{layers}": {IS_OUTPUT: {"fc"}} for layers in (18, 34, 50, 101)},
    **{f"resnet{layers}": {IS_OUTPUT: {"linear"}} for layers in (20, 32, 44, 56, 110)},
    **{
        f"wrn_{size}": {IS_OUTPUT: {"fc"}}
        for size in ("16_1", "16_2", "16_4", "16_8", "22_8", "28_10", "40_1", "40_2", "40_4")
    },
    "densenet40": {IS_OUTPUT: {"classifier"}},
    "densenet_bc_100": {IS_OUTPUT: {"classifier"}},
    "googlenet": {IS_OUTPUT: {"fc"}, DIVIDES: {"conv1.conv", "conv3.conv"}},
    "googlenet_bn": {IS_OUTPUT: {"fc"}},
    "squeezenet1_0": {IS_OUTPUT: {"classifier.1"}},
    "squeezenet1_1": {IS_OUTPUT: {"classifier.1"}},
    "mobilenet_v1": {IS_OUTPUT: {"fc"}},
    "mobilenet_v2": {IS_OUTPUT: {"classifier.1"}},
}
"""Layers that must stay whole, by reason: classifiers, and what a normalisation across channels reads. Without a
channel its neighbours meet others and are divided by other numbers; the first and last could go, which is no gain."""

every_network = pytest.mark.parametrize("name", ARCHITECTURES)


def test_every_network_is_here():
    assert LOCKED.keys() == ARCHITECTURES.keys()


@every_network
def test_only_what_must_stay_is_locked(name: str):
    check_locks(name, zoo.thin(name))


@every_network
@pytest.mark.parametrize("seed", range(2))
def test_units_zeroed_are_units_removed(name: str, seed: int):
    check_removal(zoo.thin(name), seed)


@every_network
def test_wrong_units_show(name: str):
    check_neighbours_show(zoo.thin(name), 0)
    check_locked_shows(zoo.thin(name), 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@every_network
def test_in_its_real_size_units_zeroed_are_units_removed(name: str):
    subject = zoo.whole(name)
    check_locks(name, subject)
    check_removal(subject, 0, CLOSE_WHEN_DEEP)
    check_neighbours_show(subject, 0, CLOSE_WHEN_DEEP)
    check_locked_shows(subject, 0, CLOSE_WHEN_DEEP)


def check_locks(name: str, subject: Subject) -> None:
    channels = analyse(Network.from_proto(subject.model))
    found: dict[str, set[str]] = {}
    for reason, layers in locked_because(channels).items():
        pattern = next((known for known in LOCKED[name] if re.fullmatch(known, reason)), reason)
        found.setdefault(pattern, set()).update(layers)
    assert found == LOCKED[name]
    held = set().union(*found.values())
    assert shares(channels) == {layer: float(layer not in held) for layer in shares(channels)}

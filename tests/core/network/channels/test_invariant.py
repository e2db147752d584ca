"""Every network of `tests/networks`, as both of torch's exporters write it: what can be cut, and that it can.

What must stay is written down here, network by network; everything else has to be prunable.
"""

import re
from dataclasses import dataclass

import pytest
from _pytest.mark.structures import ParameterSet

from core.network.channels import analyse
from core.network.network import Network
from tests.core.network.exports import EXPORTERS, subject
from tests.core.network.invariants import (
    check_locked_shows,
    check_neighbours_show,
    check_removal,
    locked_because,
    shares,
)
from tests.networks import NETWORKS

IS_OUTPUT = "it is an output of the model"
IS_INPUT = "^(query is joined to it by|.* starts from .*, which can't be cut)"
"""What comes from outside: the residual of an attention, and the first state of a recurrent layer."""

NORMALISED = "averages over it|reduces it"
"""Layer norms and root-mean-square norms divide by a mean over the width: without a channel it is another mean."""

SOFTMAX = "mixes it along its axis"


@dataclass(frozen=True)
class Stays:
    """How many layers have filters that must stay, and every reason why."""

    layers: int
    because: tuple[str, ...] = (IS_OUTPUT,)


CLASSIFIER = Stays(1)
RESIDUAL_STREAM = (IS_OUTPUT, NORMALISED)

STAYS = {
    "plain": CLASSIFIER,
    "resnet": CLASSIFIER,
    "densenet": CLASSIFIER,
    "inception": CLASSIFIER,
    "unet": CLASSIFIER,
    "mobilenet_v2": CLASSIFIER,
    "efficientnet": CLASSIFIER,
    "shufflenet_v1": CLASSIFIER,
    "shufflenet_v2": CLASSIFIER,
    "resnext": CLASSIFIER,
    "retinanet": Stays(7),  # the last features, and two heads on three levels
    "ssd": Stays(4),
    "yolo": Stays(2),
    "bert": Stays(8, RESIDUAL_STREAM),  # two embeddings, two layers' dense and output, pooler, head
    "vit": Stays(6, RESIDUAL_STREAM),  # patches, two layers' projections and outputs, head
    "vit_sdpa": Stays(6, RESIDUAL_STREAM),
    "torch_encoder": Stays(6, RESIDUAL_STREAM),
    "cross_attention": Stays(4, (IS_INPUT, NORMALISED)),  # it gives out the mean of its heads' weights
    "llama": Stays(6, RESIDUAL_STREAM),
    "llama_sdpa": Stays(6, RESIDUAL_STREAM),
    "gpt": Stays(6, RESIDUAL_STREAM),
    "lstm": Stays(2, RESIDUAL_STREAM),  # a norm over the hidden units
    "lstm_bidirectional": CLASSIFIER,
    "gru_bidirectional": CLASSIFIER,
    "gru_with_state": Stays(3, (IS_INPUT, IS_OUTPUT)),
    "elman": CLASSIFIER,
    "audio": Stays(1, (SOFTMAX,)),
    "wavenet": CLASSIFIER,
    "generator": CLASSIFIER,
    "super_resolution": CLASSIFIER,  # whole groups of its group norm can go
}

WHOLE = {"cross_attention", "lstm", "gru_with_state"}
"""Of which nothing can go."""

FREER = {"llama": 2, "llama_sdpa": 2}
"""Units that a cut may free: where one head of keys is left in each of two layers, it is read by two heads of queries,
which can go one by one from then on."""

BY_DYNAMO = ["plain", "shufflenet_v1", "yolo", "llama", "vit_sdpa", "torch_encoder", "lstm_bidirectional", "wavenet"]
"""Whose other export is another graph than the first; exporting takes seconds, so the rest is slow."""


def case(name: str, exporter: str) -> ParameterSet:
    is_slow = exporter == "dynamo" and name not in BY_DYNAMO
    return pytest.param(name, exporter, id=f"{name}-{exporter}", marks=pytest.mark.slow if is_slow else ())


CASES = [(name, exporter) for exporter in EXPORTERS for name in STAYS]
every_export = pytest.mark.parametrize("name, exporter", [case(*each) for each in CASES])
every_cuttable_export = pytest.mark.parametrize(
    "name, exporter", [case(*each) for each in CASES if each[0] not in WHOLE]
)


def test_every_network_is_here():
    assert set(STAYS) == set(NETWORKS)


@every_export
def test_everything_is_prunable_but_what_must_stay(name: str, exporter: str):
    channels = analyse(Network.from_proto(subject(name, exporter).model))
    found, stays = locked_because(channels), STAYS[name]
    held = set().union(*found.values())
    assert {layer for layer, share in shares(channels).items() if share < 1.0} == held
    assert len(held) == stays.layers, found
    for reason, layers in found.items():
        assert any(re.search(pattern, reason) for pattern in stays.because), (reason, layers)
    for pattern in stays.because:
        assert any(re.search(pattern, reason) for reason in found), pattern


@every_cuttable_export
def test_units_zeroed_are_units_removed(name: str, exporter: str):
    for seed in range(2):
        check_removal(subject(name, exporter), seed, freer=FREER.get(name, 0))


@every_cuttable_export
def test_units_next_to_those_that_were_zeroed_show(name: str, exporter: str):
    check_neighbours_show(subject(name, exporter), 0)


@every_export
def test_what_is_locked_can_not_be_removed(name: str, exporter: str):
    for seed in range(2):
        check_locked_shows(subject(name, exporter), seed)

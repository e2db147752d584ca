"""The networks that other tests stand on: the same at every call, and with outputs that depend on every input."""

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.networks import NETWORKS

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")


def other_values(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.bool:
        return tensor.roll(1, 0)
    return tensor + 1 if tensor.is_floating_point() else (tensor + 1) % 2


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_every_input_matters_and_every_call_gives_the_same_network(name: str):
    module, inputs = NETWORKS[name]()
    outputs = tree_leaves(module(**inputs))
    torch.rand(())  # whoever draws from the global generator between
    assert all(map(torch.equal, outputs, tree_leaves(NETWORKS[name]().module(**inputs))))
    for key, tensor in inputs.items():
        moved = tree_leaves(module(**{**inputs, key: other_values(tensor)}))
        assert max(float((new - old).std() / old.std()) for new, old in zip(moved, outputs, strict=True)) > 0.01, key

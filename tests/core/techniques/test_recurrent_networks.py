"""Every technique on a network with an embedding and a recurrent layer: it works on their weights, or leaves them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from core.context import Context
from core.formulas import AffineInt8, Codebook, Masked
from core.network import Network
from core.techniques.distinct import left_alone
from core.techniques.lowrank.svd import factor_by_svd
from core.techniques.pruning.filters import prune_filters
from core.techniques.pruning.magnitude import prune_by_magnitude
from core.techniques.recovery.recover import recover
from core.techniques.sharing.codebook import share_by_codebook
from core.techniques.sharing.int8 import quantize_to_int8
from modelpress import steps
from tests.core.network.models import model_of, run_onnx
from tests.core.techniques.contexts import context_for, samples_of

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ROWS, WIDTH, HIDDEN, TIME = 50, 12, 16, 6
IDS = {"ids": np.random.default_rng(2).integers(0, ROWS, (32, TIME))}


def classifier(kind: str) -> ModelProto:
    """Token ids to an embedding, a layer of two directions and a head on its last states."""
    draw = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.5).astype(np.float32)

    rows = GATES[kind] * HIDDEN
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"], name="embed"),
        helper.make_node("Transpose", ["words"], ["steps"], perm=[1, 0, 2]),
        helper.make_node(
            kind, ["steps", "W", "R", "B"], ["", "h"], name="cell", hidden_size=HIDDEN, direction="bidirectional"
        ),
        helper.make_node("Transpose", ["h"], ["last"], perm=[1, 0, 2]),
        helper.make_node("Flatten", ["last"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head.weight", "head.bias"], ["y"], name="head", transB=1),
    ]
    constants = {
        "table": drawn(ROWS, WIDTH),
        "W": drawn(2, rows, WIDTH),
        "R": drawn(2, rows, HIDDEN),
        "B": drawn(2, 2 * rows),
        "head.weight": drawn(5, 2 * HIDDEN),
        "head.bias": drawn(5),
    }
    return model_of(nodes, {"ids": ["n", TIME]}, constants=constants, types={"ids": TensorProto.INT64})


def after(technique: Callable[[Network, Any, Context], None], step: Any, kind: str, folder: Path) -> Network:
    """The network after a step, equal to onnxruntime's; saved and loaded it still is."""
    network = Network.from_proto(classifier(kind))
    technique(network, step, context_for(network.copy(), folder, samples_of(IDS)))
    expected = run_onnx(network.to_proto(), IDS)[0]
    network.save(folder / "saved")
    np.testing.assert_allclose(run_onnx(Network.load(folder / "saved").to_proto(), IDS)[0], expected, atol=1e-5)
    return network


def formulas(network: Network) -> dict[str, Any]:
    return {matrix.name: matrix.formula for layer in network.layers() for matrix in layer.matrices()}


MATRICES = ["cell/input", "cell/hidden", "cell/input_reverse", "cell/hidden_reverse"]


@pytest.mark.parametrize("kind", GATES)
def test_magnitude_pruning_thins_out_every_matrix(kind: str, tmp_path: Path):
    found = formulas(after(prune_by_magnitude, steps.MagnitudePruning(sparsity=0.75, epochs=1.0), kind, tmp_path))
    assert list(found) == ["embed", *MATRICES, "head"]
    for formula in found.values():
        assert isinstance(formula, Masked)
        assert float(formula.mask.float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("kind", GATES)
def test_a_codebook_is_shared_within_every_matrix(kind: str, tmp_path: Path):
    network = after(share_by_codebook, steps.CodebookSharing(bits=3, epochs=1.0), kind, tmp_path)
    for layer in network.layers():
        for matrix in layer.matrices():
            assert isinstance(matrix.formula, Codebook)
            assert matrix.weight.unique().numel() <= 8


def test_a_recurrent_layer_can_be_chosen_or_skipped(tmp_path: Path):
    step = steps.MagnitudePruning.model_validate({"layers": "cell", "epochs": 0.0})
    network = after(prune_by_magnitude, step, "LSTM", tmp_path)
    assert [name for name, formula in formulas(network).items() if formula is not None] == MATRICES
    (chosen,) = network.layers(kinds={"LSTM"})
    assert left_alone(network, chosen.matrices()) == "not chosen or of another type: embed, head"
    step = steps.MagnitudePruning.model_validate({"layers": {"skip": ["cell"]}, "epochs": 0.0})
    network = after(prune_by_magnitude, step, "LSTM", tmp_path)
    assert [name for name, formula in formulas(network).items() if formula is not None] == ["embed", "head"]


@pytest.mark.parametrize("kind", GATES)
def test_integers_leave_recurrent_layers_and_embeddings_alone_and_say_so(kind: str, tmp_path: Path):
    network = Network.from_proto(classifier(kind))
    context = context_for(network.copy(), tmp_path, samples_of(IDS))
    quantize_to_int8(network, steps.Int8Quantization(calibration="minmax"), context)
    kept = {name: type(formula) for name, formula in formulas(network).items() if formula is not None}
    assert kept == {"head": AffineInt8}
    assert any("not chosen or of another type: embed, cell" in note for note in context.notes)
    original = run_onnx(classifier(kind), IDS)[0]
    assert np.abs(run_onnx(network.to_proto(), IDS)[0] - original).max() < 0.1 * np.abs(original).max()


@pytest.mark.parametrize(
    ("technique", "step"),
    [
        (prune_filters, steps.FilterPruning(ratio=0.5, round_to=1)),
        (factor_by_svd, steps.SvdFactorisation(ratio=0.5, only_if_smaller=False)),
        (recover, steps.Recover(epochs=1.0)),
    ],
)
def test_other_techniques_give_a_network_that_runs(technique: Any, step: Any, tmp_path: Path):
    network = after(technique, step, "LSTM", tmp_path)
    assert not np.allclose(run_onnx(network.to_proto(), IDS)[0], run_onnx(classifier("LSTM"), IDS)[0])

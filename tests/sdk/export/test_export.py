"""torch modules become ONNX files that compute the same, or are refused with the reasons."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from modelpress.export import ExportFailed, export_onnx, exported
from modelpress.problem import RequestInvalid
from tests.networks import NETWORKS


def run(path: Path, *inputs: Tensor) -> list[Any]:
    session = ort.InferenceSession(path)
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True))))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )


def test_any_batch_gives_what_the_module_gives_in_eval_mode(tmp_path: Path):
    module = network()
    assert export_onnx(module, torch.randn(1, 1, 8, 8), tmp_path / "m.onnx").axes == {"input": {0: "batch"}}
    x = torch.randn(5, 1, 8, 8)
    [came] = run(tmp_path / "m.onnx", x)
    torch.testing.assert_close(torch.from_numpy(came), module.eval()(x))


@pytest.fixture
def slow_path() -> Iterator[None]:
    """torch's fast path for transformers computes something else at padded positions."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("slow_path")
@torch.no_grad()
def test_networks_of_many_kinds_keep_their_values_names_and_free_batch(name: str, tmp_path: Path):
    module, inputs = NETWORKS[name]()
    done = export_onnx(module, inputs, tmp_path / "m.onnx")
    assert done.is_certain
    assert list(done.axes) == list(inputs)
    session = ort.InferenceSession(tmp_path / "m.onnx")
    assert [value.name for value in session.get_inputs()] == list(inputs)
    other = {key: tensor.flip(next(iter(done.axes[key]))) for key, tensor in inputs.items()}
    came = session.run(None, {key: tensor.numpy() for key, tensor in other.items()})
    for expected, found in zip(tree_leaves(module(**other)), came, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_batch_norms_stay_apart_for_recovery_to_use(tmp_path: Path):
    export_onnx(network(), torch.randn(1, 1, 8, 8), tmp_path / "m.onnx")
    assert "BatchNormalization" in [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]


def test_the_module_is_left_as_it_was(tmp_path: Path):
    module = network()
    module[1].eval()
    export_onnx(module, torch.randn(1, 1, 8, 8), tmp_path / "m.onnx")
    assert [part.training for part in module] == [True, False, True, True, True, True]
    assert "forward" not in vars(module)
    assert torch.backends.mha.get_fastpath_enabled()


class Calls(nn.Module):
    """Calls a function of itself and its input."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.linear = function, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


EXAMPLE = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_a_branch_on_values_that_both_exporters_miss_is_refused_with_the_reasons_alone(tmp_path: Path, capfd):
    module = Calls(lambda self, x: x * 2 if x.mean() > 0 else self.linear(x))
    with pytest.raises(ExportFailed, match=r"tracing, batch free.*on negative values, 'output' differs") as raised:
        export_onnx(module, EXAMPLE, tmp_path / "m.onnx", dynamic_axes={"x": {0: "batch"}})
    assert "symbolic, batch free: GuardOnDataDependentSymNode" in raised.value.detail
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")  # torch prints what it failed on, line by line


def test_a_branch_on_the_batch_is_right_in_a_file_of_one_batch(tmp_path: Path):
    done = export_onnx(Calls(lambda self, x: x * 2 if x.shape[0] > 2 else self.linear(x)), EXAMPLE, tmp_path / "m.onnx")
    assert done.axes == {}
    assert "on batch 3, 'output' differs" in done.failures["tracing, batch free"]


def test_a_branch_that_no_comparison_reached_is_a_doubt_and_is_told(tmp_path: Path, caplog):
    module = Calls(lambda self, x: x * 2 if x.max() > 1e6 else self.linear(x))
    with caplog.at_level(logging.WARNING, "modelpress.export"), exported(module, EXAMPLE):
        assert "one way of the branch at test_export.py" in caplog.text


def test_where_tracing_can_not_the_other_exporter_does_and_the_result_says_so(tmp_path: Path):
    module = Calls(lambda self, x: torch.cond(x.mean() > 0, lambda x: x * 2, lambda x: x + 1, (x,)))
    done = export_onnx(module, EXAMPLE, tmp_path / "m.onnx")
    assert done.exporter == "symbolic"
    assert "torch.jit.trace" in done.failures["tracing, batch free"]
    for x in (EXAMPLE, -EXAMPLE):
        np.testing.assert_allclose(run(tmp_path / "m.onnx", x)[0], module(x), rtol=1e-6)


def test_what_is_random_is_refused_at_once(tmp_path: Path):
    with pytest.raises(ExportFailed, match="at each call") as raised:
        export_onnx(Calls(lambda self, x: nn.functional.dropout(x)), EXAMPLE, tmp_path / "m.onnx")
    assert "training=self.training" in raised.value.hint


def test_equal_weights_are_merged_only_where_they_are_tied(tmp_path: Path):
    module, inputs = NETWORKS["bert"]()
    export_onnx(module, inputs, tmp_path / "m.onnx")
    names = [tensor.name for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer]
    assert len([name for name in names if name in ("word.weight", "head.weight")]) == 1
    assert {f"layers.{layer}.norm{number}.weight" for layer in (0, 1) for number in (1, 2)} <= set(names)


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_the_opset_is_the_one_asked_for(tmp_path: Path, opset: int):
    export_onnx(network(), torch.randn(1, 1, 8, 8), tmp_path / "m.onnx", opset=opset)
    assert [entry.version for entry in onnx.load(tmp_path / "m.onnx").opset_import] == [opset]


def test_an_opset_that_no_exporter_writes_is_told_by_both(tmp_path: Path):
    with pytest.raises(ExportFailed, match=r"tracing.*99.*symbolic.*99"):
        export_onnx(network(), torch.randn(1, 1, 8, 8), tmp_path / "m.onnx", opset=99, dynamic_axes={})


def test_half_precision_is_kept(tmp_path: Path):
    export_onnx(network().half(), torch.randn(2, 1, 8, 8).half(), tmp_path / "m.onnx")
    assert run(tmp_path / "m.onnx", torch.randn(2, 1, 8, 8).half())[0].dtype == np.float16


class Steps(nn.Module):
    """Keyword inputs, one that is nested, one that is no tensor; a nested result."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(20, 8), nn.LSTM(8, 8, batch_first=True)

    def forward(self, ids: Tensor, state=None, *, scale: float = 1.0):
        y, state = self.lstm(self.embed(ids), state)
        return {"y": y * scale, "state": state}


IDS = torch.arange(10).reshape(2, 5)


def test_nested_keyword_inputs_and_fixed_values(tmp_path: Path):
    module, state = Steps(), (torch.randn(1, 2, 8), torch.randn(1, 2, 8))
    done = export_onnx(module, {"ids": IDS, "state": state, "scale": 3.0}, tmp_path / "m.onnx")
    assert done.axes == {"ids": {0: "batch"}, "state_0": {1: "batch"}, "state_1": {1: "batch"}}
    session = ort.InferenceSession(tmp_path / "m.onnx")
    assert [value.name for value in session.get_outputs()] == ["y", "state_0_out", "state_1_out"]
    assert session.get_outputs()[1].shape == [1, "batch", 8]
    expected = module(IDS, state, scale=3.0)["y"].detach()
    np.testing.assert_allclose(run(tmp_path / "m.onnx", IDS, *state)[0], expected, rtol=1e-4, atol=1e-5)


def test_axes_that_are_asked_for_are_free_and_were_tried(tmp_path: Path):
    done = export_onnx(Steps(), IDS, tmp_path / "m.onnx", dynamic_axes={"ids": {0: "batch", 1: "length"}})
    assert "batch 3 and length 6" in done.compared
    assert run(tmp_path / "m.onnx", torch.arange(16).reshape(2, 8))[0].shape == (2, 8, 8)


def test_no_axis_is_free_where_none_is_asked_for(tmp_path: Path):
    assert export_onnx(Steps(), IDS, tmp_path / "m.onnx", dynamic_axes={}).axes == {}
    assert ort.InferenceSession(tmp_path / "m.onnx").get_inputs()[0].shape == [2, 5]


@pytest.mark.parametrize(
    "module, inputs, options, said",
    [
        ("model", torch.zeros(1), {}, "not str"),
        (network(), None, {}, "no tensor"),
        (network(), (), {}, "missing a required argument"),
        (network(), "x", {}, "no tensor"),
        (network(), {"ids": IDS}, {}, "do not fit forward"),
        (network(), torch.zeros(2, 3), {}, "can't be called"),
        (network().to("meta"), torch.zeros(1, 1, 8, 8), {}, "meta device"),
        (network().bfloat16(), torch.zeros(1, 1, 8, 8).bfloat16(), {}, "bfloat16"),
        (torch.jit.ScriptModule(), EXAMPLE, {}, "scripted"),
        (Calls(lambda self, x: "x"), EXAMPLE, {}, "returns a str"),
        (Steps(), IDS, {"dynamic_axes": {"idz": [0]}}, "the inputs are ids"),
        (Steps(), IDS, {"dynamic_axes": {"ids": [2]}}, "no axis 2"),
        (network(), torch.zeros(1, 1, 8, 8), {"dynamic_axes": {"input": {2: "height"}}}, "height 9 or 16"),
        (Steps(), IDS, {"input_names": ["a", "b"]}, "2 names for 1 tensors"),
    ],
)
def test_what_can_not_be_exported_is_told_at_once(tmp_path: Path, module, inputs, options, said: str):
    with pytest.raises(RequestInvalid, match=said):
        export_onnx(module, inputs, tmp_path / "m.onnx", **options)


def test_a_temporary_export_is_gone_afterwards():
    with exported(network(), torch.randn(2, 1, 8, 8)) as path:
        assert path.is_file()
    assert not path.exists()

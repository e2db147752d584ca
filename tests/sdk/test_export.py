"""torch modules become ONNX files that compute the same."""

from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from modelpress.export import ExportFailed, export_onnx, exported
from modelpress.problem import RequestInvalid


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )


def test_any_batch_gives_what_the_module_gives_in_eval_mode(tmp_path: Path):
    module = network()
    said = export_onnx(module, torch.randn(1, 1, 8, 8), tmp_path / "m.onnx")
    assert "free" in said
    x = torch.randn(5, 1, 8, 8)
    [came] = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(came), module.eval()(x))


def test_batch_norms_stay_apart_for_recovery_to_use(tmp_path: Path):
    export_onnx(network(), torch.randn(1, 1, 8, 8), tmp_path / "m.onnx")
    assert "BatchNormalization" in [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]


def test_the_modules_modes_are_left_as_they_were(tmp_path: Path):
    module = network()
    module[1].eval()
    export_onnx(module, torch.randn(1, 1, 8, 8), tmp_path / "m.onnx")
    assert [part.training for part in module] == [True, False, True, True, True, True]


class Branch(nn.Module):
    """Another function for large batches: tracing sees one branch and keeps silent about the other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[0] > 2 else x + 1


def test_a_branch_that_tracing_misses_is_noticed(tmp_path: Path):
    assert "fixed" in export_onnx(Branch(), torch.randn(2, 3), tmp_path / "m.onnx")


class Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(x.shape)


def test_what_no_exporter_gets_right_is_refused_with_the_reasons_and_leaves_nothing(tmp_path: Path):
    with pytest.raises(ExportFailed, match=r"tracing.*differs") as raised:
        export_onnx(Random(), torch.randn(2, 3), tmp_path / "m.onnx")
    assert "symbolic" in raised.value.detail
    assert list(tmp_path.iterdir()) == []


class Two(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": left + right, "product": left * right}


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path):
    left, right = torch.randn(2, 3), torch.randn(2, 3)
    export_onnx(Two(), (left, right), tmp_path / "m.onnx")
    session = ort.InferenceSession(tmp_path / "m.onnx")
    assert [tensor.name for tensor in session.get_inputs()] == ["input_0", "input_1"]
    total, product = session.run(None, {"input_0": left.numpy(), "input_1": right.numpy()})
    torch.testing.assert_close(torch.from_numpy(total), left + right)
    torch.testing.assert_close(torch.from_numpy(product), left * right)


@pytest.mark.parametrize(
    "module, inputs", [("model", torch.zeros(1)), (network(), None), (network(), ()), (network(), "x")]
)
def test_what_can_not_be_exported_is_told_at_once(tmp_path: Path, module, inputs):
    with pytest.raises(RequestInvalid):
        export_onnx(module, inputs, tmp_path / "m.onnx")


def test_a_temporary_export_is_gone_afterwards():
    with exported(network(), torch.randn(2, 1, 8, 8)) as path:
        assert path.is_file()
    assert not path.exists()

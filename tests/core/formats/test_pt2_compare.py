"""A torch.export program against ONNX that computes the same, and something else."""

import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn
from torch.export import Dim, ExportedProgram, export

from core.formats.pt2_compare import compare
from core.measure.runner import RUNTIME_ERRORS
from modelpress.problem import ModelError


class Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def program() -> ExportedProgram:
    return export(Double(), (torch.randn(2, 3),), dynamic_shapes={"x": {0: Dim("rows", min=2)}})


def times(factor: list[list[float]]) -> ModelProto:
    weight = numpy_helper.from_array(torch.tensor(factor).numpy(), "factor")
    inputs, outputs = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "factor"], ["y"])], "times", [inputs], [outputs], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_same_network_agrees_on_other_sizes_too():
    assert compare(program(), times([[2.0]])) == ["random values", "other sizes"]


def test_other_results_are_refused():
    with pytest.raises(ModelError, match="on random values, an output differs"):
        compare(program(), times([[2.1]]))


def test_a_graph_that_is_right_for_one_size_alone_is_not_taken():
    with pytest.raises(RUNTIME_ERRORS, match=r"3 by 2|2 by 3"):
        compare(program(), times([[2.0] * 3, [2.0] * 3]))

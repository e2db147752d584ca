"""What people are shown of a model."""

from io import StringIO

import pytest
from rich.console import Console

from modelpress.cli.inspected import show_inspection
from modelpress.inspection import Inspection, LayerInfo, OperatorCount, TensorInfo


def row(name: str, **more) -> LayerInfo:
    return LayerInfo.model_validate(
        {"name": name, "type": "Conv", "weight_shape": None, "bytes": 0, "output_shape": None} | more
    )


CONV = row(
    "stem[0]",
    weight_shape=[8, 3, 3, 3],
    output_shape=[1, 8, 16, 16],
    parameters=300,
    macs=9_000,
    bytes=1_200,
    activation_bytes=8_192,
    out_channels=8,
    prunable=6,
)
GEMM = row("fc", type="Gemm", weight_shape=[5, 8], parameters=100, macs=1_000, bytes=400, out_channels=5, prunable=0)
MODEL = Inspection(
    inputs=[TensorInfo(name="x", type="float32", shape=["n", 3, 32, 32])],
    outputs=[TensorInfo(name="y", type="float32", shape=["n", 5])],
    operators={"Conv": OperatorCount(count=1, native=True), "NonZero": OperatorCount(count=2, native=False)},
    parameters=400,
    macs=10_000,
    bytes=2_000,
    weight_bytes=1_600,
    peak_activation_bytes=20_480,
    counted_on={"x": [1, 3, 32, 32]},
    prunable=6,
    filters=13,
    locks={"it is an output": 7},
    layers=[CONV, GEMM.model_copy(update={"locked": "it is an output"})],
    others=[row("gram", type="MatMul", parameters=0, macs=None)],
)


def shown(width: int = 200) -> list[str]:
    text = StringIO()
    show_inspection(MODEL, "m.onnx", Console(file=text, width=width))
    return text.getvalue().splitlines()


def cells(name: str, width: int = 200) -> list[str]:
    [line] = [line for line in shown(width) if line.split()[:1] == [name]]
    return line.split()


def test_a_layers_row_tells_its_share_of_everything():
    shape = ["Conv", "8x3x3x3", "1x8x16x16"]
    assert cells("stem[0]") == ["stem[0]", *shape, "300", "75.0", "9,000", "90.0", "1,200", "75.0", "8,192", "6/8"]


def test_a_lock_is_told_in_its_row_and_in_sum():
    assert cells("fc")[-4:] == ["it", "is", "an", "output"]
    assert any("6 of 13, 46.2%" in line for line in shown())
    assert any("7 can't: it is an output" in line for line in shown())


def test_what_holds_nothing_but_multiplies_has_a_row_too():
    assert cells("gram") == ["gram", "MatMul", "0", "0.0", "-", "0", "0.0", "-"]


def test_the_last_row_is_the_whole():
    assert cells("total") == ["total", "400", "10,000", "1,600", "6/13"]


@pytest.mark.parametrize(
    "width, seen, unseen",
    [
        (55, ["parameters", "MACs", "%"], ["weight", "note"]),
        (100, ["%", "weight", "note"], ["activations"]),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns(width, seen, unseen):
    lines = shown(width)
    [heading] = [line.split() for line in lines if line.split()[:1] == ["layer"]]
    assert set(seen) <= set(heading)
    assert not set(unseen) & set(heading)
    assert all(len(line) <= width for line in lines)


def test_operators_tell_how_they_run():
    assert cells("NonZero")[:3] == ["NonZero", "2", "opaque:"]


def test_a_free_size_tells_what_it_was_taken_to_be():
    assert any("x: float32 [n, 3, 32, 32], counted on [1x3x32x32]" in line for line in shown())

"""What the client finds out about files without onnx and numpy, checked against files that those wrote."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from modelpress.data_format import guess_format, labels_are_classes
from modelpress.external_data import external_files
from modelpress.problem import DataError


def save_model(path: Path, names: list[str]) -> None:
    """An ONNX file of one weight a name, each in an external file of that name; an empty name keeps it inside."""
    weights = [numpy_helper.from_array(np.ones((4, 300), np.float32), f"w{i}") for i in range(len(names))]
    nodes = [helper.make_node("Add", ["x", f"w{i}"], [f"y{i}"]) for i in range(len(names))]
    tensor = helper.make_tensor_value_info
    outputs = [tensor(f"y{i}", TensorProto.FLOAT, [4, 300]) for i in range(len(names))]
    graph = helper.make_graph(nodes, "g", [tensor("x", TensorProto.FLOAT, [4, 300])], outputs, weights)
    for weight, name in zip(weights, names, strict=True):
        if name:
            onnx.external_data_helper.set_external_data(graph.initializer[int(weight.name[1:])], name)
    onnx.save(helper.make_model(graph), path)


def test_external_data_are_found_by_what_the_model_says(tmp_path: Path):
    save_model(tmp_path / "m.onnx", ["a.data", "", "b.bin", "a.data"])
    assert [path.name for path in external_files(tmp_path / "m.onnx")] == ["a.data", "b.bin"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "missing.data", "sub/a.data", "..", "a\0b"])
def test_nothing_outside_the_models_folder_is_taken(tmp_path: Path, name: str):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a.data").write_text("s")
    save_model(tmp_path / "in" / "plain.onnx", [""])
    raw = (tmp_path / "in" / "plain.onnx").read_bytes()
    model = onnx.load_from_string(raw)
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", name
    (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "in" / "m.onnx") == []


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_a_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    assert external_files(path) == []


def test_a_model_cut_off_anywhere_is_read_without_a_crash(tmp_path: Path):
    save_model(tmp_path / "m.onnx", ["a.data"])
    whole = (tmp_path / "m.onnx").read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        external_files(tmp_path / "cut.onnx")
    assert external_files(tmp_path / "none.onnx") == []


@pytest.mark.parametrize(
    "name, format",
    [
        ("a.npz", "npz"),
        ("A.NPZ", "npz"),
        ("train-images-idx3-ubyte.gz", "idx"),
        ("t10k-labels-idx1-ubyte", "idx"),
        ("pictures.zip", "images"),
        ("pictures.tar.gz", "images"),
        ("data_batch_1.bin", "cifar"),
    ],
)
def test_a_format_is_told_by_the_name(name: str, format: str):
    assert guess_format(Path(name)) == format


def test_a_name_that_says_nothing_is_refused_with_the_choices():
    with pytest.raises(DataError, match=r"data\.csv") as raised:
        guess_format(Path("data.csv"))
    assert "npz" in raised.value.hint


@pytest.mark.parametrize(
    "dtype, are_classes",
    [
        ("int64", True),
        ("uint8", True),
        (">i4", True),
        ("bool", True),
        ("float32", False),
        ("<f8", False),
        ("U5", False),
    ],
)
def test_labels_are_classes_where_they_are_integers(tmp_path: Path, dtype: str, are_classes: bool):
    np.savez(tmp_path / "d.npz", x=np.zeros(3), y=np.zeros(3, dtype))
    assert labels_are_classes(tmp_path / "d.npz", "y") == are_classes


def test_labels_that_are_not_there_are_named_with_those_that_are(tmp_path: Path):
    np.savez(tmp_path / "d.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="'y', only x"):
        labels_are_classes(tmp_path / "d.npz", "y")


def test_a_file_that_is_no_npz_is_told(tmp_path: Path):
    (tmp_path / "d.npz").write_text("no")
    with pytest.raises(DataError, match=r"d\.npz is not an \.npz"):
        labels_are_classes(tmp_path / "d.npz", "y")

"""Files of other formats are refused by their content, each with its own remedy."""

import io
import pickle
import zipfile
from collections.abc import Callable

import pytest
import torch
from torch import nn

from core.network.read import parse_model
from modelpress.problem import ModelNotOnnx


def saved(**options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(nn.Linear(2, 2).state_dict(), file, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    return file.getvalue()


def exported() -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), file)
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    "make, what, remedy",
    [
        (saved, "torch checkpoint", "safetensors"),
        (lambda: saved(_use_new_zipfile_serialization=False), "pickle", "safetensors"),
        (lambda: pickle.dumps([1], protocol=4), "pickle", "safetensors"),
        (scripted, "TorchScript", "the module that it was made from"),
        (exported, r"torch\.export archive", "torch.onnx.export"),
        (lambda: zipped("metadata.json", "config.json", "model.weights.h5"), "Keras", "format='onnx'"),
        (lambda: zipped("model.onnx"), "zip archive", "Unpack"),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5", "tf2onnx"),
        (lambda: b"\x1c\0\0\0TFL3" + bytes(64), "TensorFlow Lite", "--tflite"),
        (lambda: b"\x1c\0\0\0ORTM" + bytes(64), "onnxruntime", "made from"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS", "git lfs pull"),
        (lambda: b"ptrt" + bytes(64), "TensorRT", "built from"),
    ],
)
def test_each_format_is_named_and_has_its_remedy(make: Callable[[], bytes], what: str, remedy: str):
    with pytest.raises(ModelNotOnnx, match=what) as raised:
        parse_model(make())
    assert remedy in raised.value.hint

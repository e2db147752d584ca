"""Writes a model file; weights beyond what a protobuf can hold go beside it."""

from pathlib import Path

import onnx
from onnx import ModelProto

from core.network.checks import CHECKABLE_BYTES


def write_model(model: ModelProto, path: Path, most_bytes: int = CHECKABLE_BYTES) -> None:
    """Write `path`, and `path` with `.data` behind it where the model is larger than `most_bytes`."""
    if model.ByteSize() <= most_bytes:
        path.write_bytes(model.SerializeToString())
        return
    copy = ModelProto()
    copy.CopyFrom(model)
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)
    onnx.save_model(copy, str(path), save_as_external_data=True, location=data.name)

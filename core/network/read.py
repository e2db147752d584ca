"""Opens a model file that may have been made to hurt us.

What is refused before anything is allocated for it: files that are no ONNX, cut files, external data outside
the model's folder, tensors that declare more than they hold, graphs that are no graphs.
"""

from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto

from core.network import external, wire
from core.network.checks import check_model
from core.network.foreign import foreign
from core.network.limits import MAX_FILE_BYTES
from core.network.texts import check_texts
from modelpress.problem import ModelNotOnnx, ModelTooLarge, ModelTruncated

EXPORT_HINT = "Export the network to ONNX on your own machine, for example with torch.onnx.export, and upload that."


def read_model(path: Path) -> ModelProto:
    """The model at `path` with its external data brought in, checked.

    Raises:
        ModelError: or one of its subclasses, saying what is wrong with the file.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelTooLarge(
            f"the model file is larger than {MAX_FILE_BYTES:,} bytes, which no protobuf can be",
            hint="Save the weights as external data beside the model file.",
        )
    model = parse_model(path.read_bytes())
    external.load(model, path.parent)
    return check_model(model)


def parse_model(data: bytes) -> ModelProto:
    """The protobuf in `data`.

    Raises:
        ModelNotOnnx, ModelTruncated
        ModelError: a text in it is none.
    """
    if known := foreign(data):
        raise ModelNotOnnx(f"the file is {known[0]}; it was not opened", hint=known[1])
    if not wire.looks_like_a_model(data):
        raise ModelNotOnnx("the file does not start as an ONNX model does", hint=EXPORT_HINT)
    if wire.is_cut(data):
        raise ModelTruncated("the file ends in the middle of the model", hint="Copy or upload it again.")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelNotOnnx(f"the file can't be parsed as ONNX: {error}", hint=EXPORT_HINT) from error
    if not model.HasField("graph"):
        raise ModelNotOnnx("the file holds no graph", hint=EXPORT_HINT)
    check_texts(model)
    return model

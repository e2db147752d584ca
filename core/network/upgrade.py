"""Raising a model to a newer opset, where what is to be written needs one."""

import onnx
from onnx.version_converter import ConvertError, convert_version

from core.network.checks import CHECKABLE_BYTES
from core.network.source import Source


def raise_opset(source: Source, opset: int) -> Source | None:
    """The source in a newer opset by onnx's converter; None where the converter can't."""
    if source.model.ByteSize() > CHECKABLE_BYTES:
        return None
    try:
        raised = convert_version(source.model, opset)
        onnx.checker.check_model(raised)
    except (ConvertError, RuntimeError, onnx.checker.ValidationError):
        return None
    raised.ir_version = max(raised.ir_version, 4)
    return Source(raised)

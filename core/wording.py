"""What libraries say about an error, fit for a problem's detail."""

import re

MOST = 500  # characters

TRACER = re.compile(r"\s*While executing %.*", re.DOTALL)
"""What torch.fx puts behind the message of any error in a graph: nodes and addresses of tools of its own."""
LOADED_FROM = re.compile(r"Load model from \S+ failed:\s*")
"""What onnxruntime puts before its message: the place of a temporary file."""


def message_of(error: BaseException) -> str:
    return LOADED_FROM.sub("", TRACER.sub("", str(error)))[:MOST]

"""Pure computation: folder in, folder out. No network, no database, no credentials."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it once, when it is first imported

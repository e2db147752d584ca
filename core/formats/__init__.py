"""Model files of every format that is taken; all become ONNX before anything looks at them."""

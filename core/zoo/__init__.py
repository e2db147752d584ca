"""Classic small networks of the literature, as ONNX files with freshly drawn weights."""

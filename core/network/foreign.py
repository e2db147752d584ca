"""Files of other formats, known by their first bytes: never opened, and told how to come by ONNX."""

EXPORT = "the export by client.models.upload(module, example_inputs), or torch.onnx.export on your own machine"
SWITCH = "or ask the operator to allow .pt2 files, by the setting MODELPRESS_ALLOW_PT2"
WEIGHTS = f"Load it on your own machine and use {EXPORT}; weights alone can come as safetensors."

PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
LEGACY_TORCH = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch's magic number, as pickle writes a long


def foreign(data: bytes) -> tuple[str, str] | None:
    """What a file is and what to do about it; None where it may be ONNX."""
    if data[:4] == b"PK\x03\x04":
        return _archive(data)
    if data.startswith(PICKLES) or LEGACY_TORCH in data[:32]:
        return "a Python pickle, such as an old torch checkpoint, which can run code", WEIGHTS
    if data.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file that it stands for", "Fetch that with `git lfs pull` and upload it."
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return "HDF5, such as Keras writes", "Convert it with tf2onnx on your own machine and upload the .onnx file."
    if data[4:8] == b"TFL3":
        return "a TensorFlow Lite model", "Convert it with tf2onnx (--tflite) and upload the .onnx file."
    if data[4:8] == b"ORTM":
        return "a model in onnxruntime's own format", "Upload the .onnx file that it was made from."
    if data[:4] in (b"ptrt", b"ftrt"):
        return "a TensorRT plan, made for one GPU", "Upload the .onnx file that it was built from."
    return None


def _archive(data: bytes) -> tuple[str, str]:
    """Which kind of zip archive: the names of its members stand in the clear."""
    if b"/archive_format" in data or b"serialized_exported_program.json" in data:
        return "a torch.export archive (.pt2), which can run code", f"Use {EXPORT}; {SWITCH}."
    if b"/constants.pkl" in data or b"/code/" in data:
        return "TorchScript, which can run code", f"Go back to the module that it was made from and use {EXPORT}."
    if b"/data.pkl" in data:
        return "a torch checkpoint, a pickle that can run code", WEIGHTS
    if b"config.json" in data and b".weights.h5" in data:
        return "a Keras model", "Export it with model.export(path, format='onnx') and upload the .onnx file."
    return "a zip archive", f"Unpack it and upload the .onnx file in it; of a module, use {EXPORT}."

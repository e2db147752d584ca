"""Models: upload one, look at it, list them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelpress.architecture import Architecture, architecture_files, architecture_of
from modelpress.client.effects import Items, Mode, Op, iteration, operation, work
from modelpress.client.resource import Resource
from modelpress.client.transport import segment
from modelpress.client.uploads import Uploads
from modelpress.external_data import external_files
from modelpress.problem import ModelError, error_of
from modelpress.resources import Model, ModelRequest
from modelpress.validation import parse_request


class Models(Resource[Mode]):
    """Trained networks."""

    @operation
    def upload(
        self,
        source: Any,
        example_inputs: Any = None,
        *,
        architecture: Architecture | str | None = None,
        name: str | None = None,
        tags: dict[str, str] | None = None,
        wait: bool = True,
        dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
        opset: int | None = None,
    ) -> Op[Model]:
        """Upload an ONNX file with its external data, a torch module, or a checkpoint, and wait until it was looked at.

        A module needs `example_inputs` (a tensor, a tuple of them, or a dict by parameter name); it is exported here,
        on this machine, so that no code of yours travels. `dynamic_axes` and `opset` are as in
        `modelpress.export.export_onnx`, which says more.

        A safetensors checkpoint needs `architecture`: the name of a network of the zoo, or an `Architecture` where
        more is to be said than the checkpoint does, such as `input_shape`.

        Raises:
            ExportFailed: no exporter gave a file that computes what the module does.
            ModelError: the model was rejected; the subclass and the code say why.
        """
        if isinstance(source, str | Path):
            with architecture_files(architecture_of(architecture)) as besides:
                return (yield from self._upload_file(Path(source), name, tags, wait, besides))
        from modelpress.export import exported  # torch is this caller's, never a dependency

        with exported(source, example_inputs, dynamic_axes=dynamic_axes, opset=opset) as path:
            return (yield from self._upload_file(path, name or type(source).__name__, tags, wait))

    @operation
    def get(self, model_id: str) -> Op[Model]:
        """One model, with its inspection once it is ready."""
        return (yield from self._read(Model, "GET", f"/v1/models/{segment(model_id)}"))

    @iteration
    def list(self) -> Items[Model]:
        """All models, newest first."""
        yield from self._all(Model, "/v1/models")

    @operation
    def delete(self, model_id: str) -> Op[None]:
        """Delete a model; jobs that used it stay."""
        yield from self._transport.call("DELETE", f"/v1/models/{segment(model_id)}")

    def _upload_file(
        self, path: Path, name: str | None, tags: dict[str, str] | None, wait: bool, besides: Sequence[Path] = ()
    ) -> Op[Model]:
        uploads = Uploads(self._transport, self._driver, self._bars)
        files = []
        for file in [path, *besides, *(yield from work(lambda: external_files(path)))]:
            upload = yield from uploads.send(file)
            files.append({"path": file.name, "upload_id": upload.id})
        held = {"upload_id": files[0]["upload_id"]} if len(files) == 1 else {"files": files}
        request = parse_request(ModelRequest, {"name": (name or path.stem)[:200], "tags": tags or {}, **held})
        body = request.model_dump(mode="json", exclude_defaults=True)
        model = yield from self._read(Model, "POST", "/v1/models", json=body, creates=True)
        return (yield from self._looked_at(model)) if wait else model

    def _looked_at(self, model: Model) -> Op[Model]:
        model = yield from self._settled(model, "/v1/models", busy="validating")
        if model.state == "rejected":
            raise error_of(model.error) if model.error else ModelError(f"{model.id} was rejected without a reason")
        return model

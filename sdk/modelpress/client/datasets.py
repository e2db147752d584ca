"""Data sets: upload one with how it is read, list them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelpress.client.effects import Items, Mode, Op, iteration, operation
from modelpress.client.resource import Resource
from modelpress.client.transport import segment
from modelpress.client.uploads import Uploads
from modelpress.data import Preparation
from modelpress.data_format import guess_format
from modelpress.problem import DataError, error_of
from modelpress.resources import Dataset, DatasetRequest
from modelpress.validation import parse_request


class Datasets(Resource[Mode]):
    """Samples to learn from and to measure on."""

    @operation
    def upload(
        self,
        files: str | Path | Sequence[str | Path],
        *,
        format: str | None = None,
        labels: str | None = None,
        input: str | None = None,
        preparation: Preparation | dict[str, Any] | None = None,
        name: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Op[Dataset]:
        """Upload one file, or several in order, and wait until they are verified.

        Args:
            files: for `idx` the images, then the labels.
            format: `npz`, `images`, `idx` or `cifar`; left out means what the file name says.
            labels: for `npz`, the name of the array of labels.
            input: the model's input that images feed; left out means its only one.
            preparation: from raw values to the model's input.

        Raises:
            DataError: the data set was rejected; the subclass and the code say why.
        """
        paths = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
        uploads = Uploads(self._transport, self._driver, self._bars)
        upload_ids = []
        for path in paths:
            upload_ids.append((yield from uploads.send(path)).id)
        fields = {"format": format or guess_format(paths[0]), "labels": labels, "input": input, "tags": tags or {}}
        fields |= {"name": (name or paths[0].stem)[:200], "upload_ids": upload_ids, "preparation": preparation or {}}
        request = parse_request(DatasetRequest, fields)
        body = request.model_dump(mode="json", exclude_none=True)
        dataset = yield from self._read(Dataset, "POST", "/v1/datasets", json=body, creates=True)
        return (yield from self._verified(dataset))

    @operation
    def get(self, dataset_id: str) -> Op[Dataset]:
        """One data set."""
        return (yield from self._read(Dataset, "GET", f"/v1/datasets/{segment(dataset_id)}"))

    @iteration
    def list(self) -> Items[Dataset]:
        """All data sets, newest first."""
        yield from self._all(Dataset, "/v1/datasets")

    @operation
    def delete(self, dataset_id: str) -> Op[None]:
        """Delete a data set; jobs that used it stay."""
        yield from self._transport.call("DELETE", f"/v1/datasets/{segment(dataset_id)}")

    def _verified(self, dataset: Dataset) -> Op[Dataset]:
        dataset = yield from self._settled(dataset, "/v1/datasets", busy="verifying")
        if dataset.state == "rejected":
            raise error_of(dataset.error) if dataset.error else DataError(f"{dataset.id} was rejected without a reason")
        return dataset

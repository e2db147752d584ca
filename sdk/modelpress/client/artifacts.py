"""Artifacts: what a job made, downloaded to files that are whole or not there."""

from collections.abc import Sequence
from pathlib import Path

import httpx

from modelpress.client.effects import Driver, Items, Mode, Op, Send, iteration, operation, read_chunk, sleep
from modelpress.client.errors import DownloadCorrupt
from modelpress.client.files import Arriving, unreadable
from modelpress.client.resource import Resource
from modelpress.client.transport import Transport, segment, unreachable
from modelpress.problem import FileUnreadable, NotFound
from modelpress.progress import Bar, Bars
from modelpress.resources import ArtifactInfo, Page


class Fetching(Resource[Mode]):
    """How a file comes down."""

    def _fetch(self, artifact: ArtifactInfo, path: Path) -> Op[Path]:
        """The file at `path`. A cut-off or damaged transfer is begun anew, as often as requests are retried."""
        attempt = 0
        with self._bars.bytes(f"Downloading {artifact.name}", artifact.size_bytes) as bar:
            while True:
                try:
                    return (yield from self._attempt(artifact, path, bar))
                except (httpx.TransportError, DownloadCorrupt) as error:
                    if attempt >= self._transport.max_retries:
                        raise _final(error, artifact) from error
                    yield from sleep(self._transport.back_off(attempt))
                    attempt += 1

    def _attempt(self, artifact: ArtifactInfo, path: Path, bar: Bar) -> Op[Path]:
        url = self._transport.url(f"/v1/artifacts/{segment(artifact.id)}/content")
        headers = {**self._transport.headers(), "Accept-Encoding": "identity"}
        yield from self._transport.retried(Send("GET", url, headers, stream=True))
        try:
            arriving = Arriving(path, artifact.sha256)
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            while (chunk := (yield from read_chunk())) is not None:
                arriving.write(chunk)
                bar.update(arriving.size)
            return arriving.finish()
        except OSError as error:
            raise unreadable(path, error) from error
        finally:
            arriving.drop()


def _final(error: httpx.TransportError | DownloadCorrupt, artifact: ArtifactInfo) -> Exception:
    return unreachable(artifact.name, error) if isinstance(error, httpx.TransportError) else error


class Artifacts(Fetching[Mode]):
    """Artifacts of any job, by id."""

    @operation
    def get(self, artifact_id: str) -> Op[ArtifactInfo]:
        """Size, hash and media type of one artifact."""
        return (yield from self._read(ArtifactInfo, "GET", f"/v1/artifacts/{segment(artifact_id)}"))

    @operation
    def download(self, artifact_id: str, path: str | Path) -> Op[Path]:
        """Download one artifact to `path`.

        Raises:
            DownloadCorrupt: what came does not have the promised sha256; nothing is left at `path`.
        """
        artifact = yield from self._read(ArtifactInfo, "GET", f"/v1/artifacts/{segment(artifact_id)}")
        return (yield from self._fetch(artifact, Path(path)))


class JobArtifacts(Fetching[Mode]):
    """The artifacts of one job."""

    def __init__(self, transport: Transport, driver: Driver, bars: Bars, job_id: str) -> None:
        super().__init__(transport, driver, bars)
        self._job_id = job_id

    @iteration
    def list(self) -> Items[ArtifactInfo]:
        """All of them."""
        yield from self._all(ArtifactInfo, f"/v1/jobs/{segment(self._job_id)}/artifacts")

    @operation
    def download(self, folder: str | Path, *, names: Sequence[str] | None = None) -> Op[Sequence[Path]]:
        """Download all into a folder, made if it is missing; `names` chooses some.

        Raises:
            NotFound: the job has no artifact of a name that was asked for.
            DownloadCorrupt: what came does not have the promised sha256; no file of that name is left.
        """
        params = {"limit": 100}
        page = yield from self._read(
            Page[ArtifactInfo], "GET", f"/v1/jobs/{segment(self._job_id)}/artifacts", params=params
        )
        found = {artifact.name: artifact for artifact in page.data}
        if missing := sorted(set(names or []) - set(found)):
            raise NotFound(f"{self._job_id} has no {', '.join(missing)}, only {', '.join(sorted(found))}")
        target, paths = Path(folder), []
        for name in names or found:
            paths.append((yield from self._fetch(found[name], _inside(target, name))))
        return paths


def _inside(folder: Path, name: str) -> Path:
    """`name` in `folder`, which is made; a name that is none (`../x`) is refused."""
    if Path(name).name != name or name == "..":
        raise FileUnreadable(f"{name!r} is not a plain file name, so that artifact is not written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unreadable(folder, error) from error
    return folder / name

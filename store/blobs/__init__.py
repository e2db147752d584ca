"""Where bytes lie: one interface, a local folder and S3 behind it."""

from store.blobs.base import Blobs, SignedUrl
from store.blobs.local import LocalBlobs
from store.settings import Settings


def open_blobs(settings: Settings) -> Blobs:
    if settings.s3_bucket:
        from store.blobs.s3 import S3Blobs  # boto3 is slow to import and the embedded service has no use for it

        return S3Blobs(settings)
    return LocalBlobs(settings.data_dir / "blobs")


__all__ = ["Blobs", "LocalBlobs", "SignedUrl", "open_blobs"]

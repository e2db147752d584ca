"""A folder of images in a zip or tar: one folder a class, decoded by Pillow when a batch is asked for."""

import io
import tarfile
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.data import limits
from core.data.archives import Archive, TarArchive, ZipArchive
from core.data.gunzip import gunzip, is_gzip
from core.data.raw import RawSet
from modelpress.problem import DataEmpty, DataError, DataMismatch, DataTooLarge

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".pbm"}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class ImageColumn:
    """Images of an archive as (height, width[, channels]) bytes, all of one size."""

    dtype = np.dtype(np.uint8)

    def __init__(self, places: list[tuple[Archive, int]], mode: str, size: tuple[int, int], resize: bool) -> None:
        """
        Args:
            places: archive and member of each image.
            mode: Pillow's: L, RGB or RGBA.
            size: height and width.
            resize: bring every image to `size`; otherwise another size is an error.
        """
        self.places, self.mode, self.size, self.resize = places, mode, size, resize

    @property
    def sample_shape(self) -> tuple[int, ...]:
        bands = Image.getmodebands(self.mode)
        return self.size if bands == 1 else (*self.size, bands)

    def __len__(self) -> int:
        return len(self.places)

    def take(self, indices: NDArray[np.int64]) -> np.ndarray:
        rows = np.empty((len(indices), *self.sample_shape), np.uint8)
        for row, index in enumerate(indices):
            rows[row] = self.decode(int(index))
        return rows

    def decode(self, index: int) -> np.ndarray:
        archive, number = self.places[index]
        name = archive.members[number].name
        image = open_image(archive.read(number), name)
        height, width = self.size
        if image.size != (width, height) and not self.resize:
            raise DataMismatch(
                f"{name} is {image.height} x {image.width} pixels and the first image {height} x {width}",
                hint="Set `preparation.resize` to the height and width that the model takes.",
            )
        try:
            pixels = image.convert(self.mode)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{name} is damaged: {error}") from error
        return np.asarray(
            pixels if image.size == (width, height) else pixels.resize((width, height), Image.Resampling.BILINEAR)
        )


def open_image(content: bytes, name: str) -> Image.Image:
    """An image whose header was read and whose size was checked; pixels are decoded later.

    Raises:
        DataError: not an image, or of a format that is not read. DataTooLarge: too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is stricter
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name} is not an image of a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise DataTooLarge(f"{name} declares too many pixels: {error}") from error
    if image.width * image.height > limits.MAX_PIXELS:
        raise DataTooLarge(
            f"{name} has {image.width} x {image.height} pixels; at most {limits.MAX_PIXELS:,} are decoded"
        )
    return image


def read_images(paths: list[Path], channels: int, resize: tuple[int, int] | None, scratch: Path) -> RawSet:
    """The images of all archives, labelled by their folder: classes are the folders' names in order.

    Args:
        channels: of the model's input: 1, 3 or 4.
        resize: height and width to bring them to; None takes the first image's.

    Raises:
        DataEmpty: no images. DataError: only some lie in folders, or the channels are none of 1, 3, 4.
    """
    places, folders, ignored = [], [], 0
    for archive in (open_archive(path, scratch) for path in paths):
        for number, member in enumerate(archive.members):
            path = PurePosixPath(member.name)
            if is_image(path):
                places.append((archive, number))
                folders.append(path.parent)
            else:
                ignored += 1
    if not places:
        raise DataEmpty(f"{paths[0].name} holds no images", hint=f"Images end in {', '.join(sorted(ENDINGS))}.")
    if channels not in MODES:
        raise DataMismatch(
            f"images have 1, 3 or 4 channels, and the model's input has {channels} by the layout given",
            hint="If the input is (samples, channels, height, width), set `preparation.layout` to `hwc_to_chw`, or to "
            "`hw_to_chw` for grey images.",
        )
    classes, labels = label_by_folder(folders)
    archive, number = places[0]
    first = open_image(archive.read(number), archive.members[number].name)
    size = resize or (first.height, first.width)
    notes = [f"{ignored} files of the image archive are no images and were left out"] if ignored else []
    return RawSet({"": ImageColumn(places, MODES[channels], size, resize is not None)}, labels, classes, notes)


def is_image(path: PurePosixPath) -> bool:
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in ENDINGS and not hidden


def label_by_folder(folders: list[PurePosixPath]) -> tuple[list[str], np.ndarray | None]:
    """Class names in order and each image's class; no labels where all images lie in one folder.

    Raises:
        DataError: folders within class folders, or images beside them.
    """
    distinct = sorted(set(folders))
    if len(distinct) == 1:
        return [], None
    if len({len(folder.parts) for folder in distinct}) > 1 or len({folder.parent for folder in distinct}) > 1:
        raise DataError(
            f"images lie in {distinct[0]} and in {distinct[-1]}: some in class folders, others beside or below them",
            hint="One folder a class, all at the same level, and all images in them.",
        )
    numbers = {folder: number for number, folder in enumerate(distinct)}
    return [folder.name for folder in distinct], np.array([numbers[folder] for folder in folders], np.int64)


def open_archive(path: Path, scratch: Path) -> Archive:
    """A zip or tar by its content, whatever it is called. Raises DataError."""
    if zipfile.is_zipfile(path):
        return ZipArchive(path)
    plain = gunzip(path, scratch / f"{path.name}.tar") if is_gzip(path) else path
    if not tarfile.is_tarfile(plain):
        raise DataError(
            f"{path.name} is neither a zip nor a tar archive", hint="Pack the image folder as .zip, .tar or .tar.gz."
        )
    return TarArchive(plain)

"""From a job's files to its four roles of samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.checks import check_column, class_labels, number_labels
from core.data.cifar import read_cifar
from core.data.idx import read_idx
from core.data.images import read_images
from core.data.npz import read_npz
from core.data.raw import RawSet, check_lengths, join
from core.data.samples import Data, Feed, Samples
from core.data.splits import calibration, declared, split
from core.data.synthetic import COUNT, synthetic_feeds
from core.interface import Interface, Port
from modelpress.data import Range, Splits
from modelpress.job import DatasetFiles, JobData
from modelpress.problem import DataError, DataMismatch
from modelpress.task import Classification, Match, Regression, Task


@dataclass(frozen=True)
class LoadedSet:
    """A data set that fits the model."""

    name: str
    feeds: dict[str, Feed]
    labels: np.ndarray | None
    notes: list[str]

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())).column)

    def samples(self, role: str, indices: np.ndarray) -> Samples:
        return Samples(role, self.feeds, self.labels, indices, self.name)


def load_data(
    data: JobData, folder: Path, scratch: Path, interface: Interface, task: Task, seed: int
) -> tuple[Data, list[str]]:
    """Samples by role, and what the user should know about them.

    Args:
        folder: `inputs/` of the job.
        scratch: a folder for what has to be unpacked.

    Raises:
        DataError: or a subclass, naming the file and what is wrong with it.
    """
    if data.train is None and data.eval is None:
        return synthetic_data(data.splits, interface, task, seed)
    train = load_set("train", data.train, folder, scratch, interface, task) if data.train else None
    evaluation = load_set("eval", data.eval, folder, scratch, interface, task) if data.eval else None
    return cut(train, evaluation, data.splits, task, seed)


def load_set(
    name: str, files: DatasetFiles, folder: Path, scratch: Path, interface: Interface, task: Task
) -> LoadedSet:
    place = f"data set `{name}`"
    raw = read(files, folder, scratch, interface)
    check_lengths(raw, place)
    ports = {column: fed_input(interface, files) if column == "" else interface.input(column) for column in raw.columns}
    feeds = {}
    for key, column in raw.columns.items():
        port = ports[key]
        check_column(column, port, files.preparation, f"{place}, {key or files.format}")
        feeds[port.name] = Feed(column, files.preparation, port.dtype)
    missing = [port.name for port in interface.inputs if port.name not in feeds]
    if missing:
        raise DataMismatch(f"{place} feeds {', '.join(feeds)}; the model's input {missing[0]!r} gets nothing")
    return LoadedSet(name, feeds, labels_for(task, raw, interface, place), raw.notes)


def read(files: DatasetFiles, folder: Path, scratch: Path, interface: Interface) -> RawSet:
    paths = [inside(folder, name) for name in files.files]
    match files.format:
        case "npz":
            names = [port.name for port in interface.inputs]
            return join([read_npz(path, files.labels, names) for path in paths], ", ".join(files.files))
        case "idx":
            return read_idx(paths, scratch)
        case "cifar":
            return read_cifar(paths, scratch)
        case "images":
            resize = files.preparation.resize
            return read_images(
                paths, image_channels(fed_input(interface, files), files.preparation.layout), resize, scratch
            )


def inside(folder: Path, name: str) -> Path:
    """A file of `inputs/`. Raises DataError where the name is no plain file name or there is no such file."""
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise DataError(f"there is no file {name!r} in the job's inputs")
    return path


def fed_input(interface: Interface, files: DatasetFiles) -> Port:
    """The input that images feed. Raises DataMismatch where it is not clear which."""
    names = [port.name for port in interface.inputs]
    if files.input is None and len(names) == 1:
        return interface.inputs[0]
    if files.input is None or files.input not in names:
        raise DataMismatch(f"images feed one input; set `input` to one of: {', '.join(names)}")
    return interface.input(files.input)


def image_channels(port: Port, layout: str) -> int:
    """How many channels the images are to be decoded to, by the input's shape."""
    if len(port.shape) < 4:
        return 1
    size = port.shape[3] if layout in ("as_is", "chw_to_hwc") else port.shape[1]
    return size if isinstance(size, int) else 3


def labels_for(task: Task, raw: RawSet, interface: Interface, place: str) -> np.ndarray | None:
    """The labels as the task wants them; `match` needs none and looks at none."""
    if isinstance(task, Match):
        return None
    if raw.labels is None:
        raise DataMismatch(
            f"{place} has no labels, and {task.type} needs them",
            hint="Set `labels`, use class folders, or task `match`.",
        )
    output = interface.output(task.output)
    if isinstance(task, Regression):
        return number_labels(raw.labels, output, place)
    return class_labels(raw.labels, class_count(output), place)


def class_count(output: Port) -> int | None:
    """Classes of an output (samples, classes[, 1, ...]); None where the size is free."""
    size = output.shape[1] if len(output.shape) > 1 else None
    return size if isinstance(size, int) else None


def cut(
    train: LoadedSet | None, evaluation: LoadedSet | None, splits: Splits, task: Task, seed: int
) -> tuple[Data, list[str]]:
    """Roles out of one data set, or train from the first and select and test from the second."""
    whole = evaluation or train
    if whole is None:
        raise DataError("there is no data set to cut")
    by_class = whole.labels if isinstance(task, Classification) else None
    if evaluation is None:
        roles = split(len(whole), by_class, splits, seed, ("train", "select", "test"))
        first = whole
    else:
        roles = split(len(whole), by_class, splits, seed, ("select", "test"))
        first = train or whole
        roles["train"] = training_indices(train, splits)
    samples = {
        "train": first.samples("train", roles["train"]),
        "calibrate": first.samples("calibrate", calibration(roles["train"], splits.calibrate, seed)),
        "select": whole.samples("select", roles["select"]),
        "test": whole.samples("test", roles["test"]),
    }
    empty = [f"no samples for `{role}`: what needs them is left out" for role, part in samples.items() if not len(part)]
    notes = [note for part in (train, evaluation) if part for note in part.notes]
    return Data(samples["train"], samples["calibrate"], samples["select"], samples["test"]), notes + empty


def training_indices(train: LoadedSet | None, splits: Splits) -> np.ndarray:
    """With a separate evaluation set, all of the training set, or the range declared for it."""
    if train is None:
        return np.arange(0)
    if isinstance(splits.train, Range):
        return declared(len(train), {"train": splits.train})["train"]
    return np.arange(len(train))


def synthetic_data(splits: Splits, interface: Interface, task: Task, seed: int) -> tuple[Data, list[str]]:
    """Made-up inputs in all roles. Raises DataError for a task that needs labels."""
    if not isinstance(task, Match):
        raise DataError(
            f"{task.type} needs labelled data, and the job has none", hint="Give `data.train`, or use task `match`."
        )
    made = LoadedSet("synthetic", synthetic_feeds(interface, seed), None, [])
    indices = np.array_split(np.arange(COUNT), [COUNT // 2, COUNT * 3 // 4])
    data = Data(
        train=made.samples("train", indices[0]),
        calibrate=made.samples("calibrate", calibration(indices[0], splits.calibrate, seed)),
        select=made.samples("select", indices[1]),
        test=made.samples("test", indices[2]),
        is_synthetic=True,
    )
    note = "no data were given: figures are measured on made-up random inputs and say nothing about real ones"
    return data, [note]

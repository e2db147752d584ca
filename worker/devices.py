"""Which devices this machine has, found without the computation's libraries, and which of them a worker takes."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from modelpress.problem import RequestInvalid

_PREFIXES = ("GPU-", "MIG-")


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that we may use: the driver's, in the order and selection of our own CUDA_VISIBLE_DEVICES."""
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = _present()
    return present if mask is None else compose(mask.split(","), present)


def compose(mask: Sequence[str], present: Sequence[str]) -> list[str]:
    """The devices of a mask of numbers or (shortened) UUIDs; like CUDA, it ends at the first that is not there."""
    chosen = []
    for entry in (part.strip() for part in mask):
        if entry.isdecimal():
            found = [present[int(entry)]] if int(entry) < len(present) else []
        elif entry.startswith("MIG-"):
            found = [entry]  # not listed by nvidia-smi's query
        else:
            found = [uuid for uuid in present if entry and uuid.startswith(entry)]
        if len(found) != 1:
            break
        chosen.append(found[0])
    return chosen


def choose(device: str, gpus: Sequence[str]) -> list[tuple[str, str]]:
    """What `--device` means: pairs of device class and GPU UUID (empty for the CPU), a worker each.

    Raises:
        RequestInvalid: no such device here.
    """
    if device == "cpu":
        return [("cpu", "")]
    if not gpus and device.startswith(("cuda", *_PREFIXES)):
        raise RequestInvalid(
            "this machine shows no GPU", hint="Check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use --device cpu."
        )
    if device == "cuda":
        return [("cuda", gpus[0])]
    if device == "cuda:all":
        return [("cuda", uuid) for uuid in gpus]
    if device.removeprefix("cuda:").isdecimal() and int(device.removeprefix("cuda:")) < len(gpus):
        return [("cuda", gpus[int(device.removeprefix("cuda:"))])]
    if device in gpus:
        return [("cuda", device)]
    known = ", ".join(("cpu", "cuda", "cuda:all", *gpus))
    raise RequestInvalid(f"there is no device {device!r} here", hint=f"Use one of: {known}.")


def _present() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.startswith(_PREFIXES)]

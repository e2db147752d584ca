"""Where figures are measured: processor, its features that matter, threads, versions."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from modelpress.result import Environment

FEATURES = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx_vnni_int8": "avx_vnni_int8",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}
"""The kernel's names of what makes integer arithmetic fast, and ours."""
PACKAGES = ("modelpress", "torch", "onnx", "onnxruntime", "numpy")


def environment(device: torch.device, threads: int | None) -> Environment:
    name, features = processor()
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        device=device_name(device),
        processor=name,
        features=features,
        threads=threads or available_cores(),
        versions=versions,
    )


def device_name(device: torch.device) -> str:
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> tuple[str, list[str]]:
    """Its name, and which of FEATURES it has."""
    if sys.platform == "darwin":
        return _ask_sysctl("machdep.cpu.brand_string") or platform.machine(), _mac_features()
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    told = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(told.get("flags", told.get("Features", "")).split())
    return told.get("model name", platform.machine()), [ours for theirs, ours in FEATURES.items() if theirs in flags]


def _mac_features() -> list[str]:
    names = {
        "hw.optional.arm.FEAT_DotProd": "dotprod",
        "hw.optional.arm.FEAT_I8MM": "i8mm",
        "hw.optional.avx2_0": "avx2",
    }
    return [ours for theirs, ours in names.items() if _ask_sysctl(theirs) == "1"]


def _ask_sysctl(key: str) -> str:
    try:
        return subprocess.run(
            ["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

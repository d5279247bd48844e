"""Kernels for attention: which of them work here, and the command that installs a missing one. Loads no framework.

What others publish is in the tables below, each with what was looked at. Nothing here downloads or installs anything.
"""

import functools
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

CHECKED = "December 2026"
"""When the tables were compared with what is published."""


@dataclass(frozen=True)
class Kernel:
    """What an implementation of attention needs besides bf16."""

    package: str
    """The distribution that has it."""
    module: str
    lowest: tuple[int, int]
    """Compute capabilities of GPUs that it runs on, backward pass included: from here ..."""
    below: tuple[int, int]
    """... up to this one, which it does not run on."""
    least: str = "0"
    """Lowest version of the package that is taken."""
    transformers: str = "0"
    """Lowest version of transformers that knows it."""


HUB_PACKAGE = "kernels"
KERNELS = {
    "flash_attention_3": Kernel("flash-attn-3", "flash_attn_interface", (9, 0), (9, 1)),
    # transformers takes flash-attn from 2.3.3 on.
    "flash_attention_2": Kernel("flash-attn", "flash_attn", (8, 0), (13, 0), "2.3.3"),
    # Its backward pass asserts 9.x to 12.x. A beta: wrong gradients were reported for 4.0.0b11 (heads of 256 on
    # Blackwell), and 4.0.0b30 is the lowest that another trainer takes.
    "flash_attention_4": Kernel("flash-attn-4", "flash_attn", (9, 0), (13, 0), "4.0.0b30", "5.6"),
    "kernels-community/flash-attn3": Kernel(HUB_PACKAGE, "kernels", (9, 0), (9, 1)),
    "kernels-community/flash-attn2": Kernel(HUB_PACKAGE, "kernels", (8, 0), (13, 0)),
}
"""By names that transformers takes. `auto` takes the first that works, except from the hub: FlashAttention-4 is a beta,
and so the last."""
FROM_HUB = tuple(name for name in KERNELS if "/" in name)
"""Kernels that transformers downloads from the Hugging Face hub: code that runs here, so a person asks for them."""
FLASH = tuple(name for name in KERNELS if name not in FROM_HUB)


@dataclass(frozen=True)
class Setup:
    """Versions on which kernels depend."""

    torch: str
    cuda: str | None
    """CUDA version that torch was built for, as in `13.0`; None for a build without it."""
    python: tuple[int, int]
    machine: str
    """As in the names of wheels: `linux_x86_64`."""
    packages: Mapping[str, str]
    """Versions of installed distributions, transformers among them; those of kernels only if their module is there."""
    kernels: str = ""
    """Versions of the package `kernels` that this transformers takes, as in `<0.19,>=0.18.2`; empty if unknown."""
    new_abi: bool = True
    """Whether torch was built with the C++11 ABI, as all are from 2.7 on."""

    @property
    def torch_minor(self) -> str:
        return ".".join(self.torch.split(".")[:2])

    @property
    def described(self) -> str:
        cuda = f"CUDA {self.cuda}" if self.cuda else "no CUDA"
        return f"torch {self.torch_minor}, {cuda}, Python {'.'.join(map(str, self.python))}"


@functools.cache
def here() -> Setup:
    """Return what is installed for this Python. Reads files of packages, imports none."""
    folder = _folder("torch")
    about = (folder / "version.py").read_text() if folder and (folder / "version.py").is_file() else ""
    cuda = re.search(r"^cuda\b.*= '([^']+)'", about, re.MULTILINE)
    flags = folder / "share/cmake/Torch/TorchConfig.cmake" if folder else None
    old_abi = flags is not None and flags.is_file() and "_GLIBCXX_USE_CXX11_ABI=0" in flags.read_text(errors="replace")
    packages = {name: version for name in ("torch", "transformers") if (version := _version(name))}
    for kernel in KERNELS.values():
        if (version := _version(kernel.package)) and importlib.util.find_spec(kernel.module) is not None:
            packages[kernel.package] = version
    return Setup(
        torch=packages.get("torch", ""),
        cuda=cuda[1] if cuda else None,
        python=sys.version_info[:2],
        machine=f"{platform.system().lower()}_{platform.machine()}",
        packages=packages,
        kernels=_kernels_of_transformers(),
        new_abi=not old_abi,
    )


def _folder(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent if spec and spec.origin else None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _kernels_of_transformers() -> str:
    try:
        needed = [Requirement(line) for line in importlib.metadata.requires("transformers") or ()]
    except importlib.metadata.PackageNotFoundError:
        return ""
    return next((str(one.specifier) for one in needed if one.name == HUB_PACKAGE), "")


def problem(name: str, setup: Setup, capability: tuple[int, int] | None, precision: str) -> str | None:
    """Return why a kernel cannot be used on a GPU of this compute capability (None: unknown); None if it can."""
    kernel = KERNELS[name]
    if precision == "fp32":
        return "train.precision is fp32, and it computes in 16 bits"
    if capability is not None and not kernel.lowest <= capability < kernel.below:
        return f"the GPU has compute capability {_dotted(capability)}, and it runs on {_range(kernel)}"
    found, transformers = setup.packages.get(kernel.package), setup.packages.get("transformers", "0")
    if _is_below(transformers, kernel.transformers):
        return f"transformers {transformers} does not know it; {kernel.transformers} does"
    if kernel.package == HUB_PACKAGE:
        if not setup.kernels:
            return f"transformers {transformers} takes no kernels from the hub"
        if found is None or not SpecifierSet(setup.kernels).contains(found, prereleases=True):
            has = "is not installed" if found is None else f"has version {found}"
            none = "" if _known_kernels(setup) else f", and PyPI had none such in {CHECKED}"
            return f"transformers {transformers} needs the package kernels ({setup.kernels}), which {has}{none}"
    elif found is None:
        return f"the package {kernel.package} is not installed"
    elif _is_below(found, kernel.least):
        return f"{kernel.package} {found} is too old: it takes {kernel.least}"
    return None


def chosen(attention: str, setup: Setup | None, capability: tuple[int, int] | None, precision: str) -> str:
    """Return what `train.attention` comes to on a GPU. None for `setup` assumes that every FlashAttention is installed
    there."""
    if attention != "auto":
        return attention
    for name in FLASH:
        known = setup or _everything(name)
        if problem(name, known, capability, precision) is None:
            return name
    return "sdpa"


def _everything(name: str) -> Setup:
    kernel = KERNELS[name]
    packages = {"transformers": kernel.transformers, kernel.package: kernel.least}
    return Setup("", None, (0, 0), "", packages)


def _is_below(version: str, least: str) -> bool:
    try:
        return Version(version) < Version(least)
    except InvalidVersion:
        return False


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _range(kernel: Kernel) -> str:
    if kernel.below == (kernel.lowest[0], kernel.lowest[1] + 1):
        return f"{_dotted(kernel.lowest)} alone"
    return f"{_dotted(kernel.lowest)} to {kernel.below[0] - 1}.x"


@dataclass(frozen=True)
class Wheels:
    """Wheels that flash-attention's releases on GitHub hold, for Linux and torch builds with the C++11 ABI."""

    version: str
    cuda: str
    """Major version: a wheel for 12 runs under every 12.x."""
    torch: str
    pythons: tuple[tuple[int, int], ...]
    machines: tuple[str, ...] = ("linux_x86_64",)


ALL_PYTHONS = ((3, 11), (3, 12), (3, 13))
BOTH_MACHINES = ("linux_x86_64", "linux_aarch64")
RELEASED = (
    Wheels("2.8.3", "12", "2.4", ((3, 11), (3, 12))),
    Wheels("2.8.3", "12", "2.5", ALL_PYTHONS),
    Wheels("2.8.3", "12", "2.6", ALL_PYTHONS),
    Wheels("2.8.3", "12", "2.7", ALL_PYTHONS),
    Wheels("2.8.3", "12", "2.8", ALL_PYTHONS),
    Wheels("2.8.3", "12", "2.9", ((3, 12),), BOTH_MACHINES),
    Wheels("2.8.1", "13", "2.9", ((3, 12),), BOTH_MACHINES),
    Wheels("2.8.1", "12", "2.10", ((3, 12),), BOTH_MACHINES),
    Wheels("2.8.3", "13", "2.10", ((3, 12),)),
)
"""Read from lists of the releases' files with their SHA-256 that others generate from GitHub (nix packages of 2.8.1 and
2.8.3; the last line from two projects that pin its digest); GitHub itself could not be reached. Nobody was seen to use
a wheel of theirs made for torch 2.11 or later, and the files of 2.8.3.post1 and 2.8.3.post2 are not known. PyPI has the
source alone (2.8.3.post2, October 2026), whose setup.py looks for the release's wheel first."""
RELEASE = "https://github.com/Dao-AILab/flash-attention/releases/download/v{version}/{file}"
WHEEL = "flash_attn-{version}%2Bcu{cuda}torch{torch}cxx11abi{abi}-{python}-{python}-{machine}.whl"
"""The naming scheme is that of `get_wheel_url` in its setup.py."""

INDEX_OF_3 = {"12.6": "cu126", "12.8": "cu128", "13.0": "cu130"}
"""Folders of PyTorch's index that have flash-attn-3 3.0.0 (since March 2026; PyPI has none), by CUDA version: one wheel
for every Python and, by its stable ABI, every torch from 2.9 on. From its announcement, a training that ran with it
(torch 2.11, CUDA 13.0), and PyTorch's own test, which installs it beside its main branch."""
TORCH_OF_3 = "2.9"

VERSION_OF_4, TORCH_OF_4 = "4.0.0b36", "2.10"
"""flash-attn-4 is a wheel for every machine on PyPI, and compiles its kernels when they are first used. All versions
are pre-releases, which pip takes only by their number. This one (October 2026) resolves for Python 3.11 to 3.13 on both
kinds of machine, beside torch 2.13, which stays; 2.10 is the lowest torch that reports of users name."""

KERNELS_ON_PYPI = ("0.9.0", "0.10.5", "0.11.7", "0.12.3", "0.13.0", "0.14.1", "0.15.2", "0.16.2", "0.17.2")
"""The last version of each minor of `kernels` (0.17.2: October 2026). transformers 5.24 takes 0.18.2 and later only."""
HUB_BUILDS = {"2.10": ("12.6", "12.8", "13.0"), "2.11": ("12.6",)}
"""CUDA versions, by that of torch, for which kernels-community/flash-attn2 had a build in the newest commit that could
be read. Builds for earlier torch lack metadata that kernels 0.14 and later want (discussion 5 of that repository)."""


def command(name: str, setup: Setup) -> str | None:
    """Return the command that brings a kernel, prebuilt for this setup; None if none is known."""
    if not (setup.machine.startswith("linux_") and setup.cuda and setup.torch):
        return None
    if name == "flash_attention_2":
        return _release(setup)
    if name == "flash_attention_3":
        index = INDEX_OF_3.get(setup.cuda)
        if index is None or setup.machine not in BOTH_MACHINES or _is_below(setup.torch, TORCH_OF_3):
            return None
        return f"pip install --no-deps flash-attn-3==3.0.0 --index-url https://download.pytorch.org/whl/{index}"
    if name == "flash_attention_4":
        if setup.machine not in BOTH_MACHINES or _is_below(setup.torch, TORCH_OF_4):
            return None
        extra = "[cu13]" if setup.cuda.startswith("13.") else ""
        return f"pip install 'flash-attn-4{extra}=={VERSION_OF_4}'"
    return _from_hub(name, setup)


def _release(setup: Setup) -> str | None:
    assert setup.cuda is not None
    major = setup.cuda.partition(".")[0]
    for wheels in RELEASED:
        exact = (wheels.cuda, wheels.torch) == (major, setup.torch_minor)
        if exact and setup.python in wheels.pythons and setup.machine in wheels.machines:
            if not setup.new_abi and _is_below("2.8", wheels.torch):
                return None
            file = WHEEL.format(
                version=wheels.version,
                cuda=major,
                torch=wheels.torch,
                abi=str(setup.new_abi).upper(),
                python=f"cp{setup.python[0]}{setup.python[1]}",
                machine=setup.machine,
            )
            return f"pip install {RELEASE.format(version=wheels.version, file=file)}"
    return None


def _from_hub(name: str, setup: Setup) -> str | None:
    takes = setup.cuda in HUB_BUILDS.get(setup.torch_minor, ()) and setup.machine == "linux_x86_64"
    if name != "kernels-community/flash-attn2" or not takes or not setup.kernels:
        return None
    known = _known_kernels(setup)
    return f"pip install kernels=={known[-1]}" if known else None


def _known_kernels(setup: Setup) -> list[str]:
    """Return the versions of `kernels` on PyPI that this transformers takes."""
    return [version for version in KERNELS_ON_PYPI if version in SpecifierSet(setup.kernels)]


def remedy(setup: Setup, capability: tuple[int, int] | None, precision: str) -> str:
    """Return what to do where `auto` comes to SDPA on a GPU of this compute capability."""
    if precision == "fp32":
        return "none computes in fp32"
    if capability is None:
        return "the compute capability of this GPU is not known, so no kernel can be named"
    if not any(kernel.lowest <= capability < kernel.below for kernel in KERNELS.values()):
        return f"none runs on this GPU (compute capability {_dotted(capability)})"
    if setup.cuda is None:
        return f"torch {setup.torch} is built without CUDA"
    of_all = f"{setup.described} and this GPU"
    for name in (*FLASH, *FROM_HUB):
        kernel = KERNELS[name]
        known = not _is_below(setup.packages.get("transformers", "0"), kernel.transformers)
        if known and kernel.lowest <= capability < kernel.below and (line := command(name, setup)):
            asks = f", and train.attention={name}, which runs code from the hub" if name in FROM_HUB else ""
            return f"prebuilt for {of_all}: {line}{asks}"
    return (
        f"no prebuilt kernel is known for {of_all} (as of {CHECKED}); it can be built from source, which takes an hour "
        "or more: pip install flash-attn --no-build-isolation"
    )


def refusal(name: str, setup: Setup, on_gpu: bool, capability: tuple[int, int] | None, precision: str) -> str | None:
    """Return the error for a kernel that was asked for by name and cannot be used; None if it can."""
    reason = problem(name, setup, capability, precision) if on_gpu else "there is no GPU"
    if reason is None:
        return None
    where = f"{KERNELS[name].package} from {PLACES[name]}" if name in PLACES else KERNELS[name].package
    line = command(name, setup) if on_gpu and "installed" in reason else None
    install = f" ({line})" if line else ""
    return f"train.attention={name} needs a GPU, 16 bits and {where}: {reason}{install}; use train.attention=auto, " + (
        "which takes what is installed and works"
    )


PLACES = {"flash_attention_3": "PyTorch's index (it is not on PyPI)"}

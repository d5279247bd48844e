"""Which attention works on a GPU, and which command is named where none does."""

import re
from dataclasses import replace

import pytest
import torch
import transformers
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sciriff.config.train import HUB_KERNELS
from sciriff.models import attention_kernels
from sciriff.models.attention_kernels import FROM_HUB, KERNELS, Setup, chosen, command, here, problem, refusal, remedy

VOLTA, TURING, AMPERE, ADA, HOPPER, BLACKWELL, RTX_5090 = (7, 0), (7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 0)
GITHUB = "https://github.com/Dao-AILab/flash-attention/releases/download"
FROM_SOURCE = "pip install flash-attn --no-build-isolation"
THREE = "pip install --no-deps flash-attn-3==3.0.0 --index-url https://download.pytorch.org/whl/"


def setup(torch_version: str, cuda: str | None, python: int = 12, **packages: str) -> Setup:
    return Setup(
        torch=torch_version,
        cuda=cuda,
        python=(3, python),
        machine="linux_x86_64",
        packages={"transformers": "5.24.0", **{name.replace("_", "-"): version for name, version in packages.items()}},
        kernels="<0.19,>=0.18.2",
    )


@pytest.mark.parametrize(
    ("torch_version", "cuda", "python", "gpu", "says"),
    [
        ("2.8.0", "12.6", 11, AMPERE, "flash_attn-2.8.3%2Bcu12torch2.8cxx11abiTRUE-cp311-cp311-linux_x86_64.whl"),
        ("2.8.0", "12.8", 13, HOPPER, "flash_attn-2.8.3%2Bcu12torch2.8cxx11abiTRUE-cp313-cp313-linux_x86_64.whl"),
        ("2.8.0", "12.9", 12, BLACKWELL, "flash_attn-2.8.3%2Bcu12torch2.8cxx11abiTRUE-cp312-cp312-linux_x86_64.whl"),
        ("2.9.1", "12.8", 12, ADA, f"{GITHUB}/v2.8.3/flash_attn-2.8.3%2Bcu12torch2.9cxx11abiTRUE-cp312-"),
        ("2.9.1", "12.8", 11, ADA, FROM_SOURCE),
        ("2.9.1", "12.8", 11, HOPPER, THREE + "cu128"),
        ("2.9.0", "13.0", 12, RTX_5090, f"{GITHUB}/v2.8.1/flash_attn-2.8.1%2Bcu13torch2.9cxx11abiTRUE-cp312-"),
        ("2.10.0", "13.0", 12, AMPERE, f"{GITHUB}/v2.8.3/flash_attn-2.8.3%2Bcu13torch2.10cxx11abiTRUE-cp312-"),
        ("2.10.0", "13.0", 13, AMPERE, FROM_SOURCE),
        ("2.10.0", "13.0", 13, BLACKWELL, "pip install 'flash-attn-4[cu13]==4.0.0b36'"),
        ("2.11.0+cu130", "13.0", 11, HOPPER, THREE + "cu130"),
        ("2.11.0", "13.0", 12, AMPERE, FROM_SOURCE),
        ("2.11.0", "12.6", 12, BLACKWELL, "pip install 'flash-attn-4==4.0.0b36'"),
        ("2.13.0", "12.6", 13, HOPPER, THREE + "cu126"),
        ("2.13.0", "13.0", 13, BLACKWELL, "flash-attn-4[cu13]"),
        ("2.13.0", "13.2", 13, HOPPER, "flash-attn-4[cu13]"),
        ("2.13.0", "13.0", 12, AMPERE, "no prebuilt kernel is known for torch 2.13, CUDA 13.0, Python 3.12"),
        ("2.13.0", "13.0", 12, VOLTA, "none runs on this GPU (compute capability 7.0)"),
        ("2.8.0", "12.6", 12, TURING, "none runs on this GPU (compute capability 7.5)"),
        ("2.13.0+cpu", None, 12, HOPPER, "torch 2.13.0+cpu is built without CUDA"),
        ("2.13.0", "13.0", 12, None, "not known"),
    ],
)
def test_the_command_for_a_machine(
    torch_version: str, cuda: str | None, python: int, gpu: tuple[int, int] | None, says: str
) -> None:
    text = remedy(setup(torch_version, cuda, python), gpu, "bf16")
    assert says in text and "\n" not in text
    assert text.count("pip install") == (0 if says.startswith(("none", "not", "torch ")) else 1)
    assert ("takes an hour or more" in text) == (FROM_SOURCE in text)
    assert "fp32" in remedy(setup(torch_version, cuda, python), gpu, "fp32")


def test_nothing_is_named_for_another_machine_or_an_unknown_version() -> None:
    known = setup("2.9.1", "12.8")
    arm = replace(known, machine="linux_aarch64")
    assert "linux_aarch64.whl" in (command("flash_attention_2", arm) or "")
    assert command("flash_attention_2", replace(arm, torch="2.8.0")) is None, "theirs for 2.8 are of x86_64 alone"
    mac = replace(known, machine="darwin_arm64")
    assert [command(name, mac) for name in KERNELS] == [None] * len(KERNELS)
    assert command("flash_attention_3", replace(known, torch="2.8.0")) is None, "its stable ABI begins with 2.9"
    assert command("flash_attention_2", replace(known, torch="3.0.0")) is None
    old = replace(known, torch="2.6.0", new_abi=False)
    assert "cxx11abiFALSE" in (command("flash_attention_2", old) or "")


def test_a_kernel_of_the_hub_is_named_where_a_version_that_transformers_takes_exists() -> None:
    name = "kernels-community/flash-attn2"
    today = setup("2.10.0", "12.8", 11)
    assert command(name, today) is None, "PyPI has no kernels 0.18.2"
    earlier = replace(today, kernels="<0.18,>=0.17.0")
    assert command(name, earlier) == "pip install kernels==0.17.2"
    text = remedy(earlier, AMPERE, "bf16")
    assert f"train.attention={name}" in text and "runs code from the hub" in text
    assert chosen("auto", replace(earlier, packages={"transformers": "5.19", "kernels": "0.17.2"}), AMPERE, "bf16") == (
        "sdpa"
    ), "auto downloads no code"


@pytest.mark.parametrize(
    ("gpu", "packages", "name"),
    [
        (HOPPER, {"flash_attn": "2.8.3", "flash_attn_3": "3.0.0", "flash_attn_4": "4.0.0b36"}, "flash_attention_3"),
        (HOPPER, {"flash_attn": "2.8.3", "flash_attn_4": "4.0.0b36"}, "flash_attention_2"),
        (AMPERE, {"flash_attn": "2.8.3", "flash_attn_3": "3.0.0"}, "flash_attention_2"),
        (AMPERE, {"flash_attn_4": "4.0.0b36"}, "sdpa"),
        (BLACKWELL, {"flash_attn_4": "4.0.0b36", "flash_attn_3": "3.0.0"}, "flash_attention_4"),
        (BLACKWELL, {"flash_attn_4": "4.0.0b11"}, "sdpa"),
        (BLACKWELL, {"flash_attn_4": "4.0.0b36", "transformers": "4.57.1"}, "sdpa"),
        (AMPERE, {"flash_attn": "2.3.2"}, "sdpa"),
        (TURING, {"flash_attn": "2.8.3"}, "sdpa"),
        (AMPERE, {}, "sdpa"),
        (None, {"flash_attn": "2.8.3"}, "flash_attention_3"),
    ],
)
def test_what_auto_takes(gpu: tuple[int, int] | None, packages: dict[str, str], name: str) -> None:
    known = setup("2.9.1", "12.8", **packages)
    if gpu is None:  # an unknown GPU: only what is installed counts
        name = "flash_attention_2"
    assert chosen("auto", known, gpu, "bf16") == name
    assert chosen("auto", known, gpu, "fp32") == "sdpa"
    assert chosen("eager", known, gpu, "bf16") == "eager"


def test_an_imagined_machine_has_flash_attention_installed() -> None:
    found = {gpu: chosen("auto", None, gpu, "bf16") for gpu in (TURING, AMPERE, HOPPER, BLACKWELL)}
    assert found == {
        TURING: "sdpa",
        AMPERE: "flash_attention_2",
        HOPPER: "flash_attention_3",
        BLACKWELL: "flash_attention_2",
    }


@pytest.mark.parametrize(
    ("name", "gpu", "packages", "says"),
    [
        ("flash_attention_2", AMPERE, {}, r"flash-attn is not installed \(pip install https://github"),
        ("flash_attention_3", AMPERE, {"flash_attn_3": "3.0.0"}, r"capability 8\.0, and it runs on 9\.0 alone"),
        ("flash_attention_3", HOPPER, {}, r"PyTorch's index \(it is not on PyPI\).*--index-url"),
        ("flash_attention_4", BLACKWELL, {"transformers": "5.3.0"}, r"transformers 5\.3\.0 does not know it; 5\.6"),
        ("flash_attention_4", ADA, {"flash_attn_4": "4.0.0b36"}, r"runs on 9\.0 to 12\.x"),
        (
            "kernels-community/flash-attn2",
            AMPERE,
            {},
            r"kernels \(<0\.19,>=0\.18\.2\), which is not installed, and PyPI had none such",
        ),
        ("kernels-community/flash-attn2", AMPERE, {"kernels": "0.17.2"}, r"which has version 0\.17\.2"),
    ],
)
def test_a_kernel_asked_for_by_name_is_refused_with_the_reason(
    name: str, gpu: tuple[int, int], packages: dict[str, str], says: str
) -> None:
    text = refusal(name, setup("2.9.1", "12.8", **packages), True, gpu, "bf16")
    assert text is not None and text.startswith(f"train.attention={name} needs a GPU") and "\n" not in text
    assert re.search(says, text) and text.endswith("use train.attention=auto, which takes what is installed and works")
    assert "there is no GPU" in (refusal(name, setup("2.9.1", "12.8"), False, None, "bf16") or "")
    assert "fp32" in (problem(name, setup("2.9.1", "12.8", **packages), gpu, "fp32") or "")


def test_the_setup_is_what_the_packages_themselves_say() -> None:
    found = here()
    assert found.torch.partition("+")[0] == torch.__version__.partition("+")[0]
    assert found.cuda == torch.version.cuda
    assert found.new_abi == torch._C._GLIBCXX_USE_CXX11_ABI
    assert found.packages["transformers"] == transformers.__version__
    if Version(transformers.__version__) >= Version("5.24"):
        from transformers.utils import import_utils

        takes = SpecifierSet(found.kernels)
        assert import_utils.KERNELS_MIN_VERSION in takes and import_utils.KERNELS_MAX_VERSION not in takes


def test_kernels_have_the_names_that_transformers_and_the_config_take() -> None:
    assert set(FROM_HUB) == set(HUB_KERNELS)
    if Version(transformers.__version__) >= Version("5.24"):
        from transformers import modeling_flash_attention_utils as known
        from transformers.integrations.hub_kernels import is_kernel

        assert set(FROM_HUB) < set(known.FLASH_ATTN_KERNEL_VERSIONS) and all(map(is_kernel, FROM_HUB))
        versions = {f"flash_attention_{number}" for number in known.FLASH_ATTENTION_COMPATIBILITY_MATRIX}
        assert set(attention_kernels.FLASH) == versions

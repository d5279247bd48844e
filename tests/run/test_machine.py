"""GPUs by the words of NVIDIA's own tool, which a script of the test stands for: there need not be a GPU."""

from pathlib import Path

import pytest

from sciriff.run import machine
from sciriff.run.machine import Gpu, gpu_type

SMI = """#!/bin/sh
case "$1" in
-L)
  echo "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-1111-2222-3333-444444444444)"
  echo "  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)"
  echo "  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)"
  ;;
--query-gpu=*)
  echo "0, GPU-5d5ba0d6-1111-2222-3333-444444444444, NVIDIA A100-SXM4-40GB, 40960"
  echo "1, GPU-7fe2a1b0-1111-2222-3333-444444444444, NVIDIA H100 80GB HBM3, 81559"
  ;;
esac
"""
A100 = Gpu("NVIDIA A100-SXM4-40GB", 40.0)
H100 = Gpu("NVIDIA H100 80GB HBM3", 81559 / 1024)
SLICE = Gpu("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19.0)


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, [A100, H100]),
        ("", []),
        ("1", [H100]),
        ("GPU-7fe2", [H100]),
        ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", [SLICE]),
        ("MIG-00000000-42e4-5de3-91c7-45d71c87eb3f", []),
    ],
)
def test_the_gpus_that_a_process_would_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, found: list[Gpu]
) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text(SMI)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpus() == found


def test_one_that_hangs_is_not_taken_for_a_machine_without_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "PATIENCE", 0.2)
    with pytest.raises(ValueError, match=r"nvidia-smi has not ended within 0\.2 s"):
        machine.gpus()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA A100-SXM4-40GB", "a100_40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100_80gb"),
        ("NVIDIA A100 80GB PCIe", "a100_80gb"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA GH200 480GB", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GB200", "b200"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40", None),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA RTX A6000", "a6000"),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
        (SLICE.name, None),
    ],
)
def test_a_name_stands_for_one_kind(name: str, kind: str | None) -> None:
    assert gpu_type(name) == kind

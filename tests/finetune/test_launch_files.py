import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sciriff.config import Config, DeepspeedConfig
from sciriff.finetune import launch_files
from sciriff.run.run_dir import RunDir

Compose = Callable[..., Config]


@pytest.fixture
def config(composed: Compose) -> Config:
    return composed("model=llama2_7b", "name=t")


def with_deepspeed(config: Config, **values: object) -> Config:
    return replace(config, deepspeed=DeepspeedConfig(**values))  # type: ignore[arg-type]


def test_write_makes_files_that_name_each_other(config: Config, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    command, _ = launch_files.write(config, run, gpus=8)
    launch = yaml.safe_load(run.accelerate.read_text())
    assert launch["distributed_type"] == "DEEPSPEED"
    assert launch["num_processes"] == 8
    assert launch["main_process_port"] == 0
    assert launch["deepspeed_config"]["deepspeed_config_file"] == str(run.deepspeed)
    assert json.loads(run.deepspeed.read_text())["zero_optimization"]["stage"] == 3
    assert command[0] == sys.executable
    assert command[-2:] == ["sciriff.finetune", str(tmp_path)]
    assert str(run.accelerate) in command


@pytest.mark.parametrize(
    ("stage", "processes", "on_gpu", "kind", "use_cpu"),
    [
        (0, 1, False, "NO", True),
        (0, 2, False, "MULTI_GPU", True),
        (0, 1, True, "NO", False),
        (0, 8, True, "MULTI_GPU", False),
        (3, 2, False, "DEEPSPEED", False),
        (2, 1, True, "DEEPSPEED", False),
    ],
)
def test_each_way_to_start(config: Config, stage: int, processes: int, on_gpu: bool, kind: str, use_cpu: bool) -> None:
    launch = launch_files.accelerate_config(with_deepspeed(config, zero_stage=stage), processes, on_gpu)
    assert (launch["distributed_type"], launch["use_cpu"], launch["num_processes"]) == (kind, use_cpu, processes)


def test_deepspeed_clips_as_plain_torch_does_and_sums_gradients_in_fp32(config: Config) -> None:
    settings = launch_files.deepspeed_config(config)
    assert settings["gradient_clipping"] == config.train.max_grad_norm
    assert settings["gradient_accumulation_steps"] == 1
    assert settings["data_types"] == {"grad_accum_dtype": "fp32"}
    assert "offload_optimizer" not in settings["zero_optimization"]


def test_offload_and_extra(config: Config) -> None:
    extra = {"zero_optimization": {"overlap_comm": False, "reduce_bucket_size": 5}, "wall_clock_breakdown": True}
    settings = launch_files.deepspeed_config(with_deepspeed(config, zero_stage=3, offload=True, extra=extra))
    assert settings["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert settings["zero_optimization"]["overlap_comm"] is False
    assert settings["zero_optimization"]["reduce_bucket_size"] == 5
    assert settings["zero_optimization"]["stage"] == 3
    assert settings["wall_clock_breakdown"] is True


@pytest.mark.parametrize(
    ("extra", "ours"),
    [
        ({"gradient_clipping": 0.5}, "train.max_grad_norm"),
        ({"zero_optimization": {"stage": 1}}, "deepspeed.zero_stage"),
        ({"bf16": {"enabled": False}}, "train.precision"),
    ],
)
def test_extra_may_not_set_what_another_key_decides(config: Config, extra: dict[str, object], ours: str) -> None:
    with pytest.raises(ValueError, match=ours):
        launch_files.deepspeed_config(with_deepspeed(config, zero_stage=3, extra=extra))


def test_pure_bf16_is_refused_with_offload(config: Config) -> None:
    offload = with_deepspeed(config, zero_stage=3, offload=True)
    with pytest.raises(ValueError, match="bf16_pure does not go with"):
        launch_files.deepspeed_config(replace(offload, train=replace(config.train, precision="bf16_pure")))


def test_environment(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert launch_files.environment(config, 1, on_gpu=False)["DS_ACCELERATOR"] == "cpu"
    assert "DS_ACCELERATOR" not in launch_files.environment(config, 1, on_gpu=True)
    assert int(launch_files.environment(config, 10_000, on_gpu=True)["OMP_NUM_THREADS"]) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in launch_files.environment(config, 1, on_gpu=True)


def zero_of(config: Config, processes: int, gpu_memory: float | None) -> dict[str, object]:
    return launch_files.deepspeed_config(config, processes, gpu_memory)["zero_optimization"]


def test_weights_stay_resident_as_far_as_they_fit(composed: Compose) -> None:
    seven = composed("model=llama2_7b")
    all_of_them = zero_of(seven, 8, 80)
    assert all_of_them["stage3_param_persistence_threshold"] >= 32000 * 4096  # no tensor is larger
    assert "stage3_model_persistence_threshold" not in all_of_them
    assert all_of_them["memory_efficient_linear"] is False
    some = zero_of(composed("model=llama2_70b"), 32, 80)
    assert 1e9 < some["stage3_model_persistence_threshold"] < 69e9
    assert "memory_efficient_linear" not in some
    for none in (zero_of(seven, 8, 24), zero_of(composed("deepspeed.resident_weights=none"), 8, 80)):
        assert "stage3_param_persistence_threshold" not in none


def test_sizes_follow_the_shape_and_a_process_alone_sends_nothing(composed: Compose) -> None:
    seventy = zero_of(composed("model=llama2_70b"), 32, 80)
    layer = seventy["stage3_prefetch_bucket_size"]
    assert layer == pytest.approx(855.6e6, rel=0.01)
    assert seventy["stage3_max_live_parameters"] == 2 * layer
    assert seventy["overlap_comm"] and seventy["contiguous_gradients"]
    alone = zero_of(composed("model=tiny"), 1, 80)
    assert not alone["overlap_comm"] and not alone["contiguous_gradients"]
    assert alone["reduce_bucket_size"] == composed("model=tiny").model.shape.parameters
    assert "reduce_bucket_size" not in zero_of(composed("model=tiny"), 1, None)

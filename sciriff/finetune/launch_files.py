"""Settings of `accelerate launch` and DeepSpeed, made from the config. Loads no framework: the driver uses it."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sciriff.config import Config, as_dict
from sciriff.config.plain_yaml import escaped, written
from sciriff.models import training_memory
from sciriff.run import machine
from sciriff.run.nodes.cluster import RANK, Cluster, training_processes
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

ONE_NODE = Cluster()

SET_ELSEWHERE = {
    "gradient_clipping": "train.max_grad_norm",
    "bf16": "train.precision",
    "fp16": "train.precision",
    "optimizer": "train.learning_rate, train.adam_beta1 and train.adam_beta2",
    "scheduler": "train.schedule",
    "gradient_accumulation_steps": "train.global_batch_size and train.micro_batch_tokens",
    "train_batch_size": "train.global_batch_size",
    "train_micro_batch_size_per_gpu": "train.micro_batch_tokens",
    "zero_optimization.stage": "deepspeed.zero_stage",
}
"""DeepSpeed's keys and the keys of ours that decide them; `deepspeed.extra` may not set these."""


def write(
    config: Config, run: RunDir, gpus: int, gpu_memory: float | None = None, cluster: Cluster = ONE_NODE
) -> tuple[list[str], dict[str, str]]:
    """Write accelerate.yaml and deepspeed.json into the run folder, for nodes of `gpus` GPUs of `gpu_memory` GiB each;
    only the first node does. Returns the command that starts training on this node, or by srun on each, and the
    environment variables to add to the caller's."""
    processes = training_processes(config.train.num_processes, gpus, cluster.size)
    on_gpu = gpus > 0
    if cluster.rank == 0:
        launch = accelerate_config(config, processes, on_gpu, cluster.size)
        if config.deepspeed.zero_stage:
            launch["deepspeed_config"]["deepspeed_config_file"] = str(run.deepspeed)
            run.deepspeed.write_text(json.dumps(deepspeed_config(config, processes, gpu_memory), indent=2) + "\n")
        run.accelerate.write_text(written(launch))
    return command(run, cluster), environment(config, processes // cluster.size, on_gpu)


def command(run: RunDir, cluster: Cluster = ONE_NODE, python: str = sys.executable) -> list[str]:
    """Return the command that trains a run folder in which `write` has put accelerate.yaml."""
    launcher = [python, "-m", "accelerate.commands.launch", "--config_file", str(run.accelerate), "--quiet"]
    if cluster.size > 1:
        launcher += ["--machine_rank", RANK if cluster.slurm else str(cluster.rank)]
        launcher += ["--main_process_ip", cluster.address, "--main_process_port", str(cluster.meeting_port())]
    return [*launcher, "--module", "sciriff.finetune", str(run.root)]


def environment(config: Config, processes: int, on_gpu: bool) -> dict[str, str]:
    """Return environment variables for a node with `processes` ranks: threads of each, and DeepSpeed's accelerator."""
    variables = {} if on_gpu else machine.short_spins()
    if "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(max(1, machine.cores() // processes))
    if config.deepspeed.zero_stage and not on_gpu:
        variables["DS_ACCELERATOR"] = "cpu"
    beside = Path(sys.executable).parent  # ninja, with which DeepSpeed compiles, may be in a venv that is not activated
    if config.deepspeed.zero_stage and shutil.which("ninja") is None and (beside / "ninja").exists():
        variables["PATH"] = f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return variables


def accelerate_config(config: Config, num_processes: int, on_gpu: bool, nodes: int = 1) -> dict[str, Any]:
    """Return the content of accelerate.yaml for `num_processes` ranks on all `nodes` together.

    Port 0 lets accelerate find a free one; on several nodes the command line names the port and each node's rank, and
    accelerate starts the processes of its own node (`standard`) instead of using pdsh. MULTI_GPU is accelerate's name
    for torchrun, for CPU processes too: its MULTI_CPU needs mpirun.
    """
    launch: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "num_machines": nodes,
        "machine_rank": 0,
        "num_processes": num_processes,
        "main_process_port": 0,
        "debug": False,
    }
    if config.deepspeed.zero_stage:
        # `use_cpu` would turn DeepSpeed off, and `mixed_precision` is refused beside a DeepSpeed file.
        return {
            **launch,
            "distributed_type": "DEEPSPEED",
            "use_cpu": False,
            "deepspeed_config": {
                "zero3_init_flag": config.deepspeed.zero_stage == 3,
                **({"deepspeed_multinode_launcher": "standard"} if nodes > 1 else {}),
            },
        }
    distributed = "MULTI_GPU" if num_processes > 1 else "NO"
    return {**launch, "distributed_type": distributed, "use_cpu": not on_gpu, "mixed_precision": "no"}


def deepspeed_config(config: Config, processes: int = 1, gpu_memory: float | None = None) -> dict[str, Any]:
    """Return the content of deepspeed.json, with `deepspeed.extra` merged over it.

    `processes` and `gpu_memory` (GiB, None without a GPU) decide the sizes. The batch sizes are nominal: the loop makes
    micro-batches, scales the loss and marks the last of a step. UserError names keys that contradict each other.
    """
    train, deepspeed = config.train, config.deepspeed
    if train.precision == "bf16_pure" and deepspeed.offload:
        raise UserError("train.precision=bf16_pure does not go with deepspeed.offload=true; use train.precision=bf16")
    zero: dict[str, Any] = {"stage": deepspeed.zero_stage, "overlap_comm": True, "contiguous_gradients": True}
    if gpu_memory is not None:
        zero |= _tuned(config, processes, gpu_memory)
    if deepspeed.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if deepspeed.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    bf16: dict[str, Any] = {"enabled": train.precision != "fp32"}
    if train.precision == "bf16_pure":
        bf16 |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": train.max_grad_norm,
        "bf16": bf16,
        # DeepSpeed would otherwise accumulate the gradients of micro-batches in bf16.
        "data_types": {"grad_accum_dtype": "bf16" if train.precision == "bf16_pure" else "fp32"},
        "zero_optimization": zero,
    }
    extra = as_dict(deepspeed)["extra"]
    for key, ours in SET_ELSEWHERE.items():
        section, _, name = key.rpartition(".")
        if name in (extra.get(section) or {} if section else extra):
            raise UserError(f"deepspeed.extra.{key} is overridden by {ours}; set that instead")
    merged: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(settings, escaped(extra)), resolve=True)  # type: ignore[assignment]
    return merged


def _tuned(config: Config, processes: int, gpu_memory: float) -> dict[str, Any]:
    """DeepSpeed's buffer and bucket sizes for this model and these GPUs.

    As many weights stay resident as there is room for: those are gathered once per optimizer step instead of twice per
    micro-batch. The others are prefetched one layer ahead, while the layer before computes. No bucket is larger than
    the gradients. A single process has nothing to send: buckets and a stream for them would only cost time. DeepSpeed's
    memory-efficient linear layer, which does not keep gathered weights, is used if weights are released.
    """
    shape = training_memory.shape_of(config)
    zero: dict[str, Any] = {
        "reduce_bucket_size": min(training_memory.BUCKET, training_memory.trained_parameters(config)),
        "overlap_comm": processes > 1,
        "contiguous_gradients": processes > 1,
    }
    if config.deepspeed.zero_stage == 3:
        live = training_memory.live_weights(shape)
        zero |= {
            "stage3_prefetch_bucket_size": training_memory.layer_parameters(shape),
            "stage3_max_live_parameters": live,
            "stage3_max_reuse_distance": live,
        }
        resident = training_memory.resident_weights(config, processes, gpu_memory)
        if resident:
            zero["stage3_param_persistence_threshold"] = training_memory.largest_matrix(shape)
        if resident == shape.parameters:
            zero["memory_efficient_linear"] = False
        elif resident:
            zero["stage3_model_persistence_threshold"] = resident
    return zero

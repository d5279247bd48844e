"""Measure training steps of sciriff's trainer, the padded recipe, and TRL (if installed) on the same sequences.

python benchmarks/train_step.py [--shape llama2_7b|2.7b|tiny] [--only packed zero3 zero3_defaults] [--rounds 3]

The contenders train models of the same shape on the same sequences, one after the other in separate processes. Lengths
are log-normal with a mean of about 1.0k, at most 4,096, like the science half of the mix (the tiny shape: a sixteenth
of that). Without a GPU the tiny shape is the default; its figures say little about a GPU.

    packed   sciriff's Trainer: packing, attention, loss, optimizer
    padded   the original recipe: two rows per micro-batch, padded, SDPA, all layers recomputed, all logits
    trl      TRL's SFTTrainer, if installed: packing, on a GPU also FlashAttention and Liger

and with --only, sciriff's Trainer under DeepSpeed ZeRO-3 in one process, in bf16 with fp32 master weights:

    zero3            with launch_files' bucket sizes for the model and the GPU
    zero3_defaults   with DeepSpeed's default sizes

All others train in pure bf16 on a GPU; without a GPU all train in fp32.
"""

import argparse
import importlib.util
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sciriff import config as configuration
from sciriff.config import SAMPLE, Config, DeepspeedConfig, ModelConfig, ShapeConfig, TrainConfig
from sciriff.config.registration import register
from sciriff.data.token_file import write_token_file
from sciriff.run.run_dir import RunDir

SHAPES = {
    "llama2_7b": ShapeConfig(
        layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32, vocabulary=32000, context=4096
    ),
    "2.7b": ShapeConfig(
        layers=12, hidden=4096, intermediate=11008, heads=32, kv_heads=32, vocabulary=32000, context=4096
    ),
    "tiny": ShapeConfig(layers=4, hidden=256, intermediate=688, heads=4, kv_heads=4, vocabulary=4096, context=256),
}
CONTENDERS = ("packed", "padded", "trl")
UNDER_DEEPSPEED = ("zero3", "zero3_defaults")
RATIOS = (("packed", "padded"), ("packed", "trl"), ("zero3", "packed"), ("zero3", "zero3_defaults"))
PADDED_ROWS = 2
PRETEND = 80.0
"""GiB of the GPU that the sizes are computed for on a machine without one, so that the same code runs."""


def sequences(count: int, longest: int, vocabulary: int) -> list[list[int]]:
    """Random token ids with log-normal lengths, whose mean is about a quarter of `longest`."""
    chance = random.Random(0)
    lengths = [round(chance.lognormvariate(math.log(longest / 4) - 0.32, 0.8)) for _ in range(count)]
    return [[chance.randrange(10, vocabulary) for _ in range(min(longest, max(8, length)))] for length in lengths]


def settings(arguments: argparse.Namespace, name: str, folder: Path) -> Config:
    """Config of a contender's run; every token but the first is a target."""
    tiny = arguments.shape == "tiny"
    on_gpu = arguments.gpu
    shape = SHAPES[arguments.shape]
    train = TrainConfig(
        method="full",
        num_processes=1,
        epochs=1,
        max_steps=arguments.steps + 1,
        global_batch_size=arguments.batch,
        micro_batch_tokens=512 if tiny else 8192,
        max_length=shape.context,
        precision="fp32" if not on_gpu else "bf16" if name in UNDER_DEEPSPEED else "bf16_pure",
        attention=arguments.attention,
        cross_entropy=arguments.cross_entropy,
        activation_checkpointing=arguments.checkpointing,
        checkpoint_every=None,
    )
    from hydra import compose, initialize_config_dir

    register()
    with initialize_config_dir(str(configuration.conf_dir()), version_base="1.3"):
        composed = configuration.from_container(
            compose("config", overrides=["experiment=demo", "log=none", "name=bench", f"run_dir={folder}"])
        )
    model = ModelConfig(name=arguments.shape, tokenizer=str(SAMPLE / "tokenizer"), chat="tulu", shape=shape)
    deepspeed = DeepspeedConfig(zero_stage=3 if name in UNDER_DEEPSPEED else 0, whole_layers=name == "zero3")
    return replace(composed, model=model, train=train, deepspeed=deepspeed)


def report(seconds: list[float], targets: list[int], flops: list[float], memory: float | None) -> None:
    """Print the line that the parent reads, without the first step, which warms up."""
    print(
        "RESULT " + json.dumps({"seconds": seconds[1:], "targets": targets[1:], "flops": flops[1:], "memory": memory})
    )


def packed(config: Config) -> None:
    """Run steps of sciriff's Trainer."""
    from sciriff.finetune.loop import Trainer
    from sciriff.finetune.workers import Workers

    trainer = Trainer(config, RunDir(Path(config.run_dir)), Workers(config))
    rows = [trainer.optimizer_step(step)[0] for step in range(config.train.max_steps or 1)]
    flops = [
        work(trainer.model.language_model, trainer.data.lengths[step_rows(config, r.step - 1)].tolist()) for r in rows
    ]
    report([row.seconds for row in rows], [row.target_tokens for row in rows], flops, rows[-1].memory)


def padded(config: Config) -> None:
    """Run the original recipe with plain torch and transformers."""
    import torch

    from sciriff.data.token_file import TokenFile
    from sciriff.finetune.throughput import peak_memory
    from sciriff.models.loading import load_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = TokenFile(RunDir(Path(config.run_dir)).tokens)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model: Any = load_model(config.model, seed=0, dtype=dtype).to(device).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device.type == "cuda")
    seconds, targets, flops = [], [], []
    for step in range(config.train.max_steps or 1):
        rows = step_rows(config, step)
        lengths = data.lengths[rows].tolist()
        started = time.perf_counter()
        for start in range(0, len(rows), PADDED_ROWS):
            ids = [torch.from_numpy(data[row][0]).long() for row in rows[start : start + PADDED_ROWS]]
            tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(device)
            labels = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-100).to(device)
            mask = (labels != -100).long()
            (model(input_ids=tokens, attention_mask=mask, labels=labels).loss / len(rows) * PADDED_ROWS).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        targets.append(sum(lengths) - len(lengths))
        flops.append(work(model, lengths))
    report(seconds, targets, flops, peak_memory(device))


def trl(config: Config) -> None:
    """Run TRL's SFTTrainer on the same sequences, packed, with as many tokens per optimizer step."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from sciriff.data.token_file import TokenFile
    from sciriff.finetune.throughput import peak_memory
    from sciriff.models.loading import load_model, load_tokenizer

    on_gpu = torch.cuda.is_available()
    data = TokenFile(RunDir(Path(config.run_dir)).tokens)
    steps = config.train.max_steps or 1
    rows = [row for step in range(steps) for row in step_rows(config, step)]
    budget = config.train.micro_batch_tokens
    per_step = max(1, math.ceil(int(data.lengths[rows].sum()) / steps / budget))
    attention = "flash_attention_2" if on_gpu else "sdpa"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    model: Any = load_model(config.model, seed=0, dtype=dtype, attention=attention)
    arguments = SFTConfig(
        output_dir=config.run_dir,
        max_length=budget,
        packing=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=per_step,
        max_steps=steps - 1,
        gradient_checkpointing=on_gpu,
        use_liger_kernel=on_gpu,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if on_gpu:
                torch.cuda.synchronize()
            stamps.append(time.perf_counter())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.on_step_begin()

    dataset = Dataset.from_list([{"input_ids": data[row][0].tolist()} for row in rows])
    trainer = SFTTrainer(
        model, arguments, train_dataset=dataset, processing_class=load_tokenizer(config.model), callbacks=[Clock()]
    )
    # TRL packs over the whole data set, so a step's target tokens and FLOPs are its share of the total.
    share = len(trainer.train_dataset) / per_step
    trainer.train()
    lengths = data.lengths[rows].tolist()
    seconds = [end - start for start, end in pairwise(stamps)]
    targets = [round((sum(lengths) - len(lengths)) / share)] * len(seconds)
    flops = [work(model, lengths) / share] * len(seconds)
    report(seconds, targets, flops, peak_memory(torch.device("cuda" if on_gpu else "cpu")))


def step_rows(config: Config, step: int) -> list[int]:
    """Rows of an optimizer step in sciriff's schedule."""
    from sciriff.data.token_file import TokenFile
    from sciriff.finetune import schedule

    count = len(TokenFile(RunDir(Path(config.run_dir)).tokens))
    return schedule.step_rows(step, count, config.train.global_batch_size, config.seed).tolist()


def work(model: Any, lengths: list[int]) -> float:
    """FLOPs for sequences of these lengths, without recomputation."""
    from sciriff.finetune import throughput

    layers, width = model.config.num_hidden_layers, throughput.attention_width(model.config)
    parameters = throughput.matrix_parameters(model)
    return sum(throughput.sequence_flops(parameters, length, layers, width) for length in lengths)


def peak(config: Config) -> float | None:
    import torch

    from sciriff.finetune.throughput import peak_flops

    return peak_flops(torch.device("cuda" if torch.cuda.is_available() else "cpu"), config.train.precision)


def child(name: str, folder: Path) -> None:
    """Run one contender's steps in this process."""
    {"padded": padded, "trl": trl}.get(name, packed)(configuration.load(RunDir(folder).config))


def prepare(arguments: argparse.Namespace, name: str, folder: Path, gpu_memory: float | None) -> Config:
    """Write a contender's run folder: config, tokens, DeepSpeed's config."""
    from sciriff.finetune import launch_files

    run = RunDir(folder)
    folder.mkdir()
    config = settings(arguments, name, folder)
    run.config.write_text(configuration.to_yaml(config))
    ids = sequences(arguments.batch * (arguments.steps + 1), config.model.shape.context, config.model.shape.vocabulary)
    write_token_file(run.tokens, ((str(i), row, [False] + [True] * (len(row) - 1)) for i, row in enumerate(ids)))
    if config.deepspeed.zero_stage:
        sizes_for = (gpu_memory or PRETEND) if name == "zero3" else None
        run.deepspeed.write_text(json.dumps(launch_files.deepspeed_config(config, 1, sizes_for)))
    return config


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run one contender in its own process. SystemExit with its output if it fails."""
    environment = dict(os.environ)
    if name in UNDER_DEEPSPEED:
        on_gpu = environment.get("SCIRIFF_BENCH_GPU") == "1"
        environment |= {"ACCELERATE_USE_DEEPSPEED": "true", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533", "ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}
        environment["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(RunDir(folder).deepspeed)
        environment |= {} if on_gpu else {"DS_ACCELERATOR": "cpu"}
    command = [sys.executable, __file__, "--child", name, str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("RESULT ")]
    if result.returncode or not lines:
        raise SystemExit(f"{name} failed:\n{(result.stdout + result.stderr)[-3000:]}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def main() -> None:
    """Measure the contenders in turn and print a table."""
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], Path(sys.argv[3]))
    from sciriff.run import machine

    gpus = machine.gpus()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama2_7b" if gpus else "tiny")
    parser.add_argument("--attention", default="auto", help="train.attention of the packed contender")
    parser.add_argument("--cross-entropy", default="auto", help="train.cross_entropy of the packed contender")
    parser.add_argument("--checkpointing", default=None, help="train.activation_checkpointing of the packed contender")
    parser.add_argument("--batch", type=int, default=None, help="sequences per step; 32, or 16 without a GPU")
    parser.add_argument("--steps", type=int, default=4, help="timed steps per round, after a warm-up step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=(*CONTENDERS, *UNDER_DEEPSPEED), default=CONTENDERS)
    arguments = parser.parse_args()
    arguments.gpu = bool(gpus)
    arguments.batch = arguments.batch or (32 if gpus else 16)
    arguments.checkpointing = arguments.checkpointing or ("all" if gpus else "none")
    if arguments.checkpointing.isdecimal():
        arguments.checkpointing = int(arguments.checkpointing)
    names = [name for name in arguments.only if name != "trl" or importlib.util.find_spec("trl")]
    os.environ["SCIRIFF_BENCH_GPU"] = str(int(bool(gpus)))
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        gpu_memory = min((gpu.memory for gpu in gpus), default=None)
        folders = {name: Path(temporary) / name for name in names}
        peaks = {name: peak(prepare(arguments, name, folder, gpu_memory)) for name, folder in folders.items()}
        for _ in range(arguments.rounds):
            for name, folder in folders.items():
                results[name].append(measure(name, folder))
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    print(
        f"commit {commit}, {gpus[0].name if gpus else f'CPU, {machine.cores()} cores'}, shape {arguments.shape}, ",
        end="",
    )
    print(f"{arguments.batch} sequences a step, {arguments.steps} steps x {arguments.rounds} rounds")
    print(f"{'':16}{'target tokens/s':>18}{'(rounds)':>22}{'MFU':>8}{'peak GiB':>10}")
    speeds = {n: [sum(r["targets"]) / sum(r["seconds"]) for r in rs] for n, rs in results.items()}
    for name, rounds in speeds.items():
        middle = statistics.median(rounds)
        rates = [sum(r["flops"]) / sum(r["seconds"]) for r in results[name]]
        flops = peaks[name]
        mfu = f"{statistics.median(rates) / flops:.3f}" if flops else "-"
        memory = results[name][-1]["memory"]
        spread = f"{min(rounds):,.0f}-{max(rounds):,.0f}"
        print(f"{name:16}{middle:>18,.0f}{spread:>22}{mfu:>8}{f'{memory:.1f}' if memory else '-':>10}")
    for one, other in RATIOS:
        if one in speeds and other in speeds:
            ratio = statistics.median(a / b for a, b in zip(speeds[one], speeds[other], strict=True))
            print(f"{one} / {other}: {ratio:.2f}")
    if "trl" in arguments.only and "trl" not in names:
        print("trl: not installed here")
    return None


if __name__ == "__main__":
    main()

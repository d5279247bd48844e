"""Answers to general tasks beside those of lm-eval's own class of models, item by item, in fp32 on this machine.

    python benchmarks/general_parity.py MODEL DATA --chat general --tasks gsm8k_cot,mmlu --limit 20

MODEL is a Hugging Face folder, DATA a folder for general.data. Prints how many generated answers are equal and how many
multiple-choice documents have the same choice and the same ranking, every difference, and the largest difference of a
log-likelihood; before that what lm-eval makes of our saved answers, leaf by leaf, beside what the stage wrote.

Two things differ on purpose. lm-eval tokenises a conversation as one text, so that a token may span the end of a role
tag and the beginning of an answer; training here never has such tokens, so neither have prompts. And it counts white
space at the end of the prompt (the newline of `<|assistant|>`) as part of each choice, so that log-likelihoods with
markup differ by about a constant.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from sciriff.config import Config, conf_dir, from_container, load
from sciriff.config.files import to_yaml
from sciriff.config.registration import register
from sciriff.data.general_rows import read_items
from sciriff.general import __main__ as general_stage
from sciriff.general import requests
from sciriff.general.datasets_at_hand import reading
from sciriff.general.loaded_tasks import chosen_documents, load_tasks, quiet
from sciriff.predict import __main__ as predict_stage
from sciriff.run.run_dir import RunDir

TIE = 1e-4
"""Log-likelihoods that are closer than this have no order: sums in fp32 differ in their last digits."""


@dataclass
class Compared:
    """What was compared, and every document that differs."""

    generated: int = 0
    equal: int = 0
    choices: int = 0
    same_choice: int = 0
    same_ranking: int = 0
    largest: float = 0.0
    other_ids: int = 0
    """Generated answers to prompts whose token ids lm-eval has otherwise; `other_answers` of them differ."""
    other_answers: int = 0
    shortened: int = 0
    """Documents whose prompt lost examples here, and its beginning there: not compared."""
    differences: list[str] = field(default_factory=list)


def config_of(model: str, data: str, chat: str, tasks: list[str], limit: int, folder: Path, more: list[str]) -> Config:
    register()
    overrides = [
        *("experiment=demo", "train=none", "model=custom", "name=parity", "general=standard", f"model.chat={chat}"),
        *(f"model.path={model}", f"run_dir={folder}", "eval.limit=1", "eval.max_new_tokens=4", "model.dtype=float32"),
        *(f"general.data={data}", f"general.tasks=[{','.join(tasks)}]", f"general.limit={limit}", *more),
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return from_container(compose("config", overrides))


def ours(config: Config) -> dict[str, list[dict[str, Any]]]:
    """Leaf -> lm-eval's samples of a replay over the answers of our engine; predict has run before."""
    from lm_eval.evaluator import evaluate

    from sciriff.general.saved_answers import SavedAnswers

    run = RunDir(Path(config.run_dir))
    found: dict[str, list[dict[str, Any]]] = {}
    with requests.asking(config) as (builder, tasks):
        model = SavedAnswers(builder, general_stage.saved_answers(config, run))
        for loaded in tasks:
            documents = chosen_documents(config.general, loaded)
            results = evaluate(
                lm=model, task_dict={"tasks": loaded.leaves}, samples=documents, bootstrap_iters=0, **builder.how()
            )
            for leaf in loaded.leaves:
                kept = [row for row in results["samples"][leaf] if row["filter"] == loaded.filter]
                for place, row in enumerate(kept):
                    one = model.asked[leaf, place]
                    row["left_out"], row["ids"] = one.left_out, one.request and one.request.prompt
                found[leaf] = kept
                items = read_items(run, leaf)
                mean = sum(item.value for item in items) / len(items)
                key = f"{loaded.metric},{loaded.filter}"
                print(f"replay  {leaf}: lm-eval {results['results'][leaf][key]:.6f}, the stage {mean:.6f}")
    return found


def theirs(config: Config, batch: int) -> dict[str, list[dict[str, Any]]]:
    """Leaf -> lm-eval's samples with its own class of Hugging Face models."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    model = config.answering_model
    lm = HFLM(pretrained=model.path, dtype="float32", device="cpu", batch_size=batch, max_length=model.context)
    found: dict[str, list[dict[str, Any]]] = {}
    with reading(config.general, config.cache_dir):
        for loaded in load_tasks(config.general):
            for task in loaded.leaves.values():
                if task.OUTPUT_TYPE == "generate_until" and config.general.max_new_tokens:
                    task.config.generation_kwargs["max_gen_toks"] = config.general.max_new_tokens
            documents = chosen_documents(config.general, loaded)
            results = evaluate(
                lm=lm,
                task_dict={"tasks": loaded.leaves},
                samples=documents,
                bootstrap_iters=0,
                apply_chat_template=model.chat != "general",
                fewshot_as_multiturn=config.general.turns,
            )
            for leaf in loaded.leaves:
                found[leaf] = [row for row in results["samples"][leaf] if row["filter"] == loaded.filter]
                for row in found[leaf]:
                    row["ids"] = lm.tok_encode(row["arguments"][0][0])
    return found


def compare(one: dict[str, list[dict[str, Any]]], other: dict[str, list[dict[str, Any]]]) -> Compared:
    """Compare our samples with theirs, document by document."""
    found = Compared()
    for leaf, rows in one.items():
        for row, there in zip(rows, other[leaf], strict=True):
            assert row["doc_id"] == there["doc_id"]
            assert row["doc_hash"] == there["doc_hash"]
            name = f"{leaf}:{row['doc_id']}"
            if row["left_out"]:
                found.shortened += 1
            elif isinstance(row["resps"][0][0], str) and row["ids"] != there["ids"]:
                found.other_ids += 1
                found.other_answers += row["resps"] != there["resps"]
            elif isinstance(row["resps"][0][0], str):
                found.generated += 1
                found.equal += row["resps"] == there["resps"]
                if row["resps"] != there["resps"]:
                    found.differences.append(f"{name}: {row['resps'][0][0]!r}, lm-eval {there['resps'][0][0]!r}")
            else:
                _compare_choices(name, row, there, found)
    return found


def _compare_choices(name: str, row: dict[str, Any], there: dict[str, Any], found: Compared) -> None:
    here = [float(resp[0][0]) for resp in row["resps"]]
    theirs = [float(resp[0][0]) for resp in there["resps"]]
    found.choices += 1
    found.largest = max(found.largest, *(abs(a - b) for a, b in zip(here, theirs, strict=True)))
    same = max(range(len(here)), key=here.__getitem__) == max(range(len(here)), key=theirs.__getitem__)
    ordered = all(
        (here[a] - here[b]) * (theirs[a] - theirs[b]) > 0 or abs(theirs[a] - theirs[b]) < TIE
        for a in range(len(here))
        for b in range(a)
    )
    found.same_choice += same
    found.same_ranking += ordered
    if not (same and ordered):
        found.differences.append(f"{name}: {[round(v, 5) for v in here]}, lm-eval {[round(v, 5) for v in theirs]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--chat", default="tulu")
    parser.add_argument("--tasks", default="gsm8k_cot,mmlu")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments, more = parser.parse_known_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        names = arguments.tasks.split(",")
        model, data = (str(Path(path).absolute()) for path in (arguments.model, arguments.data))
        config = config_of(model, data, arguments.chat, names, arguments.limit, Path(folder), more)
        run = RunDir(Path(folder))
        run.config.write_text(to_yaml(config))
        config = load(run.config)
        started = time.monotonic()
        requests.main(config, run)
        predict_stage.main(config, run)
        seconds = time.monotonic() - started
        general_stage.main(config, run)
        found = ours(config)
        started = time.monotonic()
        compared = compare(found, theirs(config, arguments.batch))
        shutil.rmtree(run.general)
    lm_eval = time.monotonic() - started
    print(f"\nseconds: ours {seconds:.0f} with a science prompt of each task, lm-eval's class {lm_eval:.0f}")
    print(f"generated: {compared.equal} of {compared.generated} equal")
    if compared.other_ids:
        print(f"generated, other token ids: {compared.other_answers} of {compared.other_ids} answers differ")
    print(
        f"multiple choice: {compared.same_choice} of {compared.choices} same choice, {compared.same_ranking} same "
        f"ranking, log-likelihoods differ by {compared.largest:.2g} at most"
    )
    print(f"not compared, since they lost examples: {compared.shortened}")
    print("\n".join(compared.differences) or "no difference")
    if arguments.json:
        arguments.json.write_text(json.dumps(vars(compared)))


if __name__ == "__main__":
    main()

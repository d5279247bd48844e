"""Every file that a run reads or writes, named once."""

from dataclasses import dataclass
from pathlib import Path


class _Below:
    """A path below the run folder: `RunDir(root).scores` is `root / "scores.json"`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: "RunDir", owner: object) -> Path:
        return run.root / self.name


@dataclass(frozen=True)
class RunDir:
    """The folder of one run. `RunDir(path).scores` is the path of its scores, whether or not they exist yet."""

    root: Path

    config = _Below("config.yaml")
    """The composed, checked, resolved config. The stages read this and never see Hydra."""
    manifest = _Below("manifest.json")
    """Versions, machine, seeds, and per stage: status, seconds, digests of its inputs and outputs."""
    lock = _Below(".lock")
    """Held by the driver that owns the run."""
    workers_lock = _Below(".workers.lock")
    """Held (shared) by every child process, so that a new driver waits for the last child of a killed one."""
    judge_lock = _Below(".judge.lock")
    """Held by the judge, so that no second one pays for the same judgements."""
    predict_lock = _Below(".predict.lock")
    """Held by the stage that asks a server for predictions, for the same reason."""
    stop_request = _Below(".stop")
    """Exists while the driver wants training to write a checkpoint and end; ranks look for it each step."""
    nodes = _Below(".nodes")
    """Files by which nodes without Slurm communicate; only the owner of the run can read them."""

    recreated = _Below("recreated")
    """Rows made of raw corpora, with their card, where recreate.out names this folder."""
    mix = _Below("mix/train.jsonl")
    """The finished mix, one Conversation a line."""
    mix_card = _Below("mix/card.json")
    """Rows and tokens of the mix by source, what was dropped and why, digests."""
    mix_card_page = _Below("mix/card.md")
    """The card for people, with the recipe that builds the mix again (Markdown)."""
    tokens = _Below("mix/tokens")
    """The tokenised mix (Arrow), or a link to it in the cache."""
    validation = _Below("mix/validation.jsonl")
    """Rows for the validation loss, one Conversation a line; none of them is in the mix. Absent if there are none."""
    validation_tokens = _Below("mix/validation_tokens")
    """The tokenised validation rows, as `tokens`. Absent if there are none."""

    accelerate = _Below("accelerate.yaml")
    """Settings of `accelerate launch`, so that no config file of the user's home plays a part."""
    deepspeed = _Below("deepspeed.json")
    checkpoints = _Below("checkpoints")
    """Resumable training state, one folder `step-N` each."""
    model = _Below("model")
    """The fine-tuned model: a plain Hugging Face folder, with an adapter merged into it."""
    partial_model = _Below("model.partial")
    """The same while it is being written."""
    adapter = _Below("adapter")
    """The LoRA adapter alone, as peft reads it. Absent if all weights were trained."""
    metrics = _Below("metrics.jsonl")
    """One row per optimizer step, and one per validation."""
    selection = _Below("selection")
    """The prompts by whose scores the best model was chosen, and `step-N.jsonl`, the answers after N steps. Absent
    without train.best_by=task_mean."""
    selection_prompts = _Below("selection/prompts.jsonl")
    """One SelectionPrompt a line, in the form of an instance too, so that eval.path may name the file."""

    predictions = _Below("predictions")
    """One file `<task>.jsonl` per task."""
    expected = _Below("predictions/expected.json")
    """{task: ids of the requested instances, in their order}; predictions without it define their own set."""
    answered_with = _Below("predictions/settings.json")
    """The model and settings that the predictions depend on; an interrupted stage resumes only under the same."""
    not_asked = _Below("predictions/not_asked")
    """Answers to instances no longer requested, one file `<task>.jsonl` per task, for when they are again."""
    paid_answers = _Below("paid/answers.jsonl")
    """Every answer of a server, one a line; predictions are made from these, and none is paid for twice."""
    answer_batch = _Below("paid/batch.json")
    """The batch of prompts in flight at a server; removed once its answers are saved."""

    general = _Below("general")
    """One file `<task>.jsonl` per leaf task of lm-eval: what each document scored."""
    general_requests = _Below("general/requests.jsonl")
    """Prompts of the general tasks, for the stage that answers them and removes the file."""
    general_answers = _Below("general/answers.jsonl")
    """Every answer to them, keyed by model and prompt."""
    general_settings = _Below("general/settings.json")
    """Versions, shots, metrics and sizes of the general tasks as they were scored."""

    judgements = _Below("judgements")
    """One file `<task>.jsonl` per judged task."""
    asked_of_judge = _Below("judgements/asked.json")
    """By task: the prompt that each instance is judged by, and the digest of the answers."""
    judge_batch = _Below("judgements/batch.json")
    """The batch in flight at the judge's server; removed once its answers are saved."""

    scores = _Below("scores.json")
    per_instance = _Below("per_instance")
    """One file `<task>.jsonl` per task: the numbers of each answer from which its scores are computed."""
    tables = _Below("tables")
    """`summary.tsv` in the reference's layout, `<task>.tsv` with the details, `general.tsv` of the general tasks."""
    report = _Below("report.html")
    """The page for people."""
    figures = _Below("figures")
    """The report's figures for papers, PNG and PDF. Absent unless report.figures asks for them."""
    published = _Below("published.json")
    """What was pushed to the hub, and the commits."""
    tracker = _Below("wandb")
    """A tracker's offline files."""
    copied = _Below(".copied")
    """Names the tracker that has all of the run. Absent while one is at work, or lacks something."""

    @property
    def cached(self) -> tuple[Path, Path]:
        """What the mix stage links to the cache."""
        return self.tokens, self.validation_tokens

    def log(self, stage: str) -> Path:
        """The output of one stage; its first line is the command."""
        return self.root / "logs" / f"{stage}.log"

    def node(self, rank: int) -> Path:
        """Messages of a node without Slurm to the others, one JSON object a line."""
        return self.nodes / f"node-{rank}.jsonl"

    def node_lock(self, rank: int) -> Path:
        """Held by the one process that is this node."""
        return self.nodes / f"node-{rank}.lock"

    def heartbeat(self, rank: int) -> Path:
        """Changes every few seconds while a node without Slurm is alive."""
        return self.nodes / f"node-{rank}.heartbeat"

    def shares(self, start: str) -> Path:
        """The prompts that each node answers in one start of the stage."""
        return self.nodes / f"shares-{start}.json"

    def share(self, start: str, rank: int | str) -> Path:
        """The answers of one node, one a line."""
        return self.nodes / f"answers-{start}-{rank}.jsonl"

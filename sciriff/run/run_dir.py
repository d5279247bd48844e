"""Every file that a run reads or writes, named once."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunDir:
    """The folder of one run. `RunDir(path).scores` is where its scores are, whether or not they exist yet."""

    root: Path

    @property
    def config(self) -> Path:
        """The composed, checked, resolved config. The stages read this and never see Hydra."""
        return self.root / "config.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, machine, seeds, and per stage: status, seconds, digests of what went in and came out."""
        return self.root / "manifest.json"

    @property
    def lock(self) -> Path:
        """Held by the driver that owns the run."""
        return self.root / ".lock"

    @property
    def workers_lock(self) -> Path:
        """Held (shared) by every child process, so that a new driver waits until the last of an old one's is gone."""
        return self.root / ".workers.lock"

    @property
    def judge_lock(self) -> Path:
        """Held by the judge, so that no second one asks and pays for the same."""
        return self.root / ".judge.lock"

    @property
    def predict_lock(self) -> Path:
        """Held by the stage that asks a server for predictions, as the judge's is."""
        return self.root / ".predict.lock"

    @property
    def stop_request(self) -> Path:
        """Exists while the driver wants training to write a checkpoint and end; ranks look for it each step."""
        return self.root / ".stop"

    @property
    def nodes(self) -> Path:
        """How the nodes of a run talk to each other; its owner alone can read it."""
        return self.root / ".nodes"

    def node(self, rank: int) -> Path:
        """What a node without Slurm says to the others, one JSON object a line."""
        return self.nodes / f"node-{rank}.jsonl"

    def node_lock(self, rank: int) -> Path:
        """Held by the one process that is this node."""
        return self.nodes / f"node-{rank}.lock"

    def heartbeat(self, rank: int) -> Path:
        """Changes every few seconds while a node without Slurm is alive."""
        return self.nodes / f"node-{rank}.heartbeat"

    def shares(self, start: str) -> Path:
        """Which node answers which prompts in one start of the stage."""
        return self.nodes / f"shares-{start}.json"

    def share(self, start: str, rank: int | str) -> Path:
        """The answers of one node, one a line."""
        return self.nodes / f"answers-{start}-{rank}.jsonl"

    @property
    def mix(self) -> Path:
        """The finished mix, one Conversation a line."""
        return self.root / "mix" / "train.jsonl"

    @property
    def mix_card(self) -> Path:
        """What went into the mix, what was dropped and why, digests."""
        return self.root / "mix" / "card.json"

    @property
    def tokens(self) -> Path:
        """The tokenised mix (Arrow), or a link to it in the cache."""
        return self.root / "mix" / "tokens"

    @property
    def mix_card_page(self) -> Path:
        """The card for people, with the recipe that builds the mix again (Markdown)."""
        return self.root / "mix" / "card.md"

    @property
    def validation(self) -> Path:
        """Rows to watch training with, one Conversation a line; none of them is in the mix. Absent without any."""
        return self.root / "mix" / "validation.jsonl"

    @property
    def validation_tokens(self) -> Path:
        """The tokenised validation rows, as `tokens`. Absent without any."""
        return self.root / "mix" / "validation_tokens"

    @property
    def accelerate(self) -> Path:
        """What `accelerate launch` is told, so that no config file of the user's home plays a part."""
        return self.root / "accelerate.yaml"

    @property
    def deepspeed(self) -> Path:
        """The JSON that DeepSpeed was given."""
        return self.root / "deepspeed.json"

    @property
    def checkpoints(self) -> Path:
        """Resumable training state, one folder `step-N` each."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The fine-tuned model: a plain Hugging Face folder, with an adapter merged into it."""
        return self.root / "model"

    @property
    def adapter(self) -> Path:
        """What LoRA trained, by itself, as peft reads it. Absent where all weights were trained."""
        return self.root / "adapter"

    @property
    def metrics(self) -> Path:
        """One row per optimizer step, and one per validation."""
        return self.root / "metrics.jsonl"

    @property
    def predictions(self) -> Path:
        """One file `<task>.jsonl` per task."""
        return self.root / "predictions"

    @property
    def expected(self) -> Path:
        """{task: ids of the instances that were asked, in their order}; predictions without it define their own set."""
        return self.predictions / "expected.json"

    @property
    def answered_with(self) -> Path:
        """The model and settings that the predictions depend on; an interrupted stage goes on only under the same."""
        return self.predictions / "settings.json"

    @property
    def not_asked(self) -> Path:
        """Answers to instances that are no longer asked, one file `<task>.jsonl` per task, for when they are again."""
        return self.predictions / "not_asked"

    @property
    def paid_answers(self) -> Path:
        """Every answer that a server gave, one a line; predictions are made from these, and none is paid for twice."""
        return self.root / "paid" / "answers.jsonl"

    @property
    def answer_batch(self) -> Path:
        """The batch of prompts that is under way at a server; gone once its answers are here."""
        return self.root / "paid" / "batch.json"

    @property
    def judgements(self) -> Path:
        """One file `<task>.jsonl` per judged task."""
        return self.root / "judgements"

    @property
    def asked_of_judge(self) -> Path:
        """Which prompt each instance is judged by, and the digest of the answers, by task."""
        return self.judgements / "asked.json"

    @property
    def judge_batch(self) -> Path:
        """The batch that is under way at the judge's server; gone once its answers are here."""
        return self.judgements / "batch.json"

    @property
    def scores(self) -> Path:
        """All scores, with the summary."""
        return self.root / "scores.json"

    @property
    def per_instance(self) -> Path:
        """One file `<task>.jsonl` per task: the numbers of each answer that its scores are made of."""
        return self.root / "per_instance"

    @property
    def tables(self) -> Path:
        """`summary.tsv` in the reference's layout and `<task>.tsv` with the details."""
        return self.root / "tables"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        """The report's figures for papers, PNG and PDF. Absent unless report.figures asks for them."""
        return self.root / "figures"

    @property
    def tracker(self) -> Path:
        """Where a tracker keeps its offline files."""
        return self.root / "wandb"

    @property
    def copied(self) -> Path:
        """Names the tracker that has all of the run. Absent while one is at work, or lacks something."""
        return self.root / ".copied"

    def log(self, stage: str) -> Path:
        """The output of one stage; its first line is the command."""
        return self.root / "logs" / f"{stage}.log"

"""Write what a sweep leaves: scored runs with a manifest and metrics, and the rows of its jobs."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from omegaconf import OmegaConf

from sciriff import score
from sciriff.config import Config, from_container, to_yaml
from sciriff.data.records import Prediction
from sciriff.results.sweep_record import Job
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

NER, LIST = "biored_ner", "bioasq_list_qa"
RIGHT = {
    NER: [json.dumps({"Gene": [f"a {n}", "b"]}) for n in range(40)],
    LIST: [json.dumps([f"a {n}", "b"]) for n in range(30)],
}
WRONG = {NER: '{"Gene": ["x"]}', LIST: '["x"]'}
GPUS = ["NVIDIA H100", "NVIDIA H100"]
BASES: dict[bool, str] = {}


class Runs:
    """Makes runs below a folder. Every run has the defaults with `key=value` overrides."""

    def __init__(self, place: Path, composed: Callable[..., Config]) -> None:
        self.place = place
        self.composed = composed
        self.jobs: list[Job] = []

    def make(self, name: str, share: float, *overrides: str, trained: bool = True, gpus: list[str] = GPUS) -> RunDir:
        """A run that answers this share of the instances right. It trained 3 steps of 1000 tokens, each 600 s."""
        rows = [
            Prediction(task, f"{task}:{n}", "", text if n < share * len(texts) else WRONG[task], text)
            for task, texts in RIGHT.items()
            for n, text in enumerate(texts)
        ]
        run = self.answered(name, rows, *overrides, trained=trained)
        stages = {"predict": {"status": "done", "inputs": {}, "seconds": 1800.0}}
        if trained:
            stages["train"] = {"status": "done", "inputs": {}, "seconds": 900.0}
            steps = [{"step": step, "tokens": 1000, "seconds": 600.0} for step in (1, 2, 3)]
            write_jsonl(run.metrics, steps)
        run.manifest.write_text(json.dumps({"machine": {"gpus": gpus}, "stages": stages}))
        return run

    def answered(self, name: str, rows: list[Prediction], *overrides: str, trained: bool = True) -> RunDir:
        """A run with these answers, scored, and nothing else."""
        run = RunDir(self.place / "runs" / f"run-{len(list(self.place.glob('runs/run-*')))}")
        for task in dict.fromkeys(row.task for row in rows):
            write_jsonl(run.predictions / f"{task}.jsonl", [row for row in rows if row.task == task])
        given = OmegaConf.from_dotlist([*overrides, f"run_dir={run.root}"])
        config = from_container(OmegaConf.merge(OmegaConf.create(self._base(trained)), given))
        config.name = name
        run.config.write_text(to_yaml(config))
        score.main(config, run)
        return run

    def _base(self, trained: bool) -> str:
        """The config of all runs as YAML: composing takes half a second, so it is done once."""
        if trained not in BASES:
            train = "full" if trained else "none"
            BASES[trained] = to_yaml(self.composed("model=llama2_7b", "eval.resamples=0", f"train={train}"))
        return BASES[trained]

    def job(self, name: str, run: RunDir, status: str = "done", reason: str | None = None) -> None:
        self.jobs.append(Job(len(self.jobs), name, str(run.root), f"name={name}", status, 61.0, reason))

    def sweep(self) -> Path:
        """The folder of the sweep with the rows of the jobs so far."""
        folder = self.place / "runs" / "sweep-grid"
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        for job in self.jobs:
            (folder / "jobs" / f"{job.number:04d}.json").write_text(json.dumps(asdict(job)))
        return folder


def grid(runs: Runs) -> Path:
    """Four runs over two caps and two shares beside an untrained model, one with a second seed; three jobs that did
    not finish."""
    untrained = runs.make("llama2_7b-untrained", 0.1, trained=False)
    for cap, share, score_ in ((5, "none", 0.3), (20, "none", 0.5), (5, "match", 0.12), (20, "match", 0.9)):
        name = f"grid-per_task-{cap}-tulu-{share}"
        beside = f"report.beside=[{untrained.root}]"
        runs.job(name, runs.make(name, score_, f"mix.per_task={cap}", f"mix.tulu={share}", beside))
    again = runs.make("grid-per_task-20-tulu-match-s2", 0.8, "mix.per_task=20", "mix.tulu=match", "seed=2")
    runs.job("grid-per_task-20-tulu-match-s2", again)
    nowhere = RunDir(runs.place / "runs" / "nowhere")
    runs.job("grid-broken", nowhere, "failed", "no disk <b>left</b>")
    runs.job("grid-killed", nowhere, "running")
    runs.job("grid-stopped", nowhere, "stopped")
    return runs.sweep()

"""What an exported file of inspect_ai builds its task from: rows, scorer, metric. Only those files import this."""

from pathlib import Path

from inspect_ai import Task
from inspect_ai.dataset import Dataset, FieldSpec, hf_dataset, json_dataset
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import TaskState, generate

from sciriff.export.scoring import Scoring

FIELDS = FieldSpec(input="input", target="output", id="_instance_id")


def rows_beside(file: str, name: str) -> Dataset:
    """The rows of data/NAME.jsonl beside the task's file, wherever these have been moved."""
    return json_dataset(str(Path(file).parent / "data" / f"{name}.jsonl"), FIELDS, name=name)


def rows_of_hub(name: str, path: str, config: str | None, split: str) -> Dataset:
    """The task's rows of a split of a hub's dataset, in their order."""
    rows = hf_dataset(path, split=split, name=config, sample_fields=FIELDS)
    return rows.filter(lambda sample: str(sample.id).partition(":")[0] == name, name=name)


def held_out_task(scoring: Scoring, columns: list[str], rows: Dataset, max_new_tokens: int) -> Task:
    """Ask each row as it is, greedily, and score the answers as this package does."""

    @metric(name="score")
    def over_all_answers() -> Metric:
        def values(scores: list[SampleScore]) -> dict[str, float]:
            counts = [one.score.value for one in scores]
            return {column: scoring.score(column, counts) for column in columns}

        return values

    @scorer(metrics=[over_all_answers()], name=scoring.task.name)
    def counts_of_answers() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            answer = state.output.completion
            # over several epochs inspect_ai takes the mean of each count
            return Score(value=scoring.counts(answer, target.text), answer=answer)

        return score

    config = GenerateConfig(max_tokens=max_new_tokens, temperature=0.0)
    return Task(dataset=rows, solver=generate(), scorer=counts_of_answers(), config=config)

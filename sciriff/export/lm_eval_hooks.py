"""The functions that an exported task file names with `!function`: lm-eval calls them for rows, answers and scores."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sciriff.export.scoring import Scoring
from sciriff.run.json_lines import read_json_objects


def rows_beside(file: str, name: str) -> Callable[..., dict[str, Any]]:
    """`custom_dataset`: the rows of data/NAME.jsonl beside the task's files, wherever these have been moved."""
    path = Path(file).parent / "data" / f"{name}.jsonl"

    def rows(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"validation": Dataset.from_list([row for _, row in read_json_objects(path)])}

    return rows


def rows_of(name: str) -> Callable[[Any], Any]:
    """`process_docs`: the task's rows of a split of the hub dataset, in their order."""

    def rows(split: Any) -> Any:
        return split.filter(lambda instance_id: instance_id.partition(":")[0] == name, input_columns="_instance_id")

    return rows


def counts_of(scoring: Scoring, columns: Sequence[str]) -> Callable[[dict[str, Any], list[str]], dict[str, Any]]:
    """`process_results`: what one answer adds to each column."""

    def counts(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
        return dict.fromkeys(columns, scoring.counts(results[0], doc["output"]))

    return counts


def score_of(scoring: Scoring, column: str) -> Callable[[Sequence[Sequence[float]]], float]:
    """`aggregation`: a column over all answers."""

    def score(counts: Sequence[Sequence[float]]) -> float:
        return scoring.score(column, counts)

    return score

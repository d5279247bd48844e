"""DiSCoMaT: extract the numbers of a table of glass compositions, one JSON object per line."""

from sciriff.tasks.task import Task

DISCOMAT = Task(name="discomat_te", summary={"bleu": "bleu"}, headline=("bleu",))

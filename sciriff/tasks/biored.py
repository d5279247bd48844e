"""BioRED: find genes, diseases, chemicals and other entities in a biomedical abstract."""

from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.json_answer import json_object
from sciriff.tasks.task import Task

BIORED = Task(
    name="biored_ner",
    parse=json_object,
    empty={kind: [] for kind in ("CellLine", "Chemical", "Disease", "Gene", "Species", "Variant")},
    metric=entity_f1,
    summary={"f1": "all_typed_f1"},
    headline=("f1",),
)

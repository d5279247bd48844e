"""The nine held-out tasks of SciRIFF, which no training mix contains, in the order of the paper's table."""

from sciriff.tasks.bioasq import BIOASQ
from sciriff.tasks.biored import BIORED
from sciriff.tasks.discomat import DISCOMAT
from sciriff.tasks.evidence_inference import EVIDENCE_INFERENCE
from sciriff.tasks.multicite import MULTICITE
from sciriff.tasks.mup import MUP
from sciriff.tasks.qasper import QASPER
from sciriff.tasks.scierc import SCIERC
from sciriff.tasks.scifact import SCIFACT
from sciriff.tasks.task import Task

HELD_OUT: tuple[Task, ...] = (
    BIOASQ,
    BIORED,
    DISCOMAT,
    EVIDENCE_INFERENCE,
    MULTICITE,
    MUP,
    QASPER,
    SCIERC,
    SCIFACT,
)
NAMES: tuple[str, ...] = tuple(task.name for task in HELD_OUT)
COLUMNS: tuple[str, ...] = tuple(column for task in HELD_OUT for column in task.columns)
"""The eleven columns of the summary, `<task>/<short name>`."""

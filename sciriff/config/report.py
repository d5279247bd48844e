"""report: what the page shows."""

from dataclasses import dataclass

from sciriff.config.roles import setting


@dataclass
class ReportConfig:
    beside: list[str] = setting(factory=list)
    """Run folders whose scores are shown beside this run's."""
    untrained: bool = False
    """Show the model as it was before training, too: in a run of its own, `train=none` with the same model and
    evaluation, which is made first where it is not there and shared by all runs that it belongs to."""
    predictions_per_task: int | None = setting(None, least=0)
    """How many predictions of each task the page holds, evenly spaced over its file; null for all. SciRIFF's 4,177 make
    a page of some 7 MB."""
    figures: bool = False
    """Draw the scores, the training and the mix for papers too, as PNG and PDF in figures/ (needs sciriff[figures])."""

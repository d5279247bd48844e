"""report: what the page shows."""

from dataclasses import dataclass

from sciriff.config.roles import setting


@dataclass
class ReportConfig:
    beside: list[str] = setting(factory=list, path=True)
    """Run folders whose scores are shown beside this run's."""
    untrained: bool = False
    """Show the untrained model, too: a run of its own, `train=none` with the same model and evaluation, made first if
    missing and shared by all runs with this baseline."""
    predictions_per_task: int | None = setting(None, least=0)
    """Predictions of each task in the page, evenly spaced over its file; null is all, 7 MB for SciRIFF's 4,177."""
    figures: bool = False
    """Draw scores, training and mix for papers, as PNG and PDF in figures/ (needs sciriff[figures])."""

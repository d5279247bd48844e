"""`python -m sciriff.sweep_page SWEEP_DIR` writes sweep.html into the folder of a sweep, beside its jobs/."""

import sys
from collections.abc import Sequence
from pathlib import Path

from sciriff.config import read
from sciriff.report.sweep.configs import flat_config, is_untrained
from sciriff.report.sweep.sweep_page import UNREADABLE, LeftOut, render
from sciriff.results.finished_runs import FinishedRun, find_runs, read_run, read_runs, with_own_names
from sciriff.results.seeds import pool_seeds
from sciriff.results.statistics import RESAMPLES
from sciriff.results.sweep_record import PAGE, Job, jobs
from sciriff.run.arguments import ArgumentParser
from sciriff.run.messages import show
from sciriff.run.number_format import duration
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole
from sciriff.stage import command

UNFINISHED = {
    "stopped": "stopped by a person; the sweep's command resumes it",
    "queued": "it waits in Slurm; the sweep's command follows it",
    "running": "still running, or it was killed; the sweep's command resumes it",
}
"""Status of a job in the record -> why it has no scores."""


@command
def main() -> int:
    parser = ArgumentParser(prog="python -m sciriff.sweep_page", description=__doc__)
    parser.add_argument("sweep", type=Path, metavar="SWEEP_DIR", help="runs/sweep-...")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help=f"({RESAMPLES})")
    arguments = parser.parse_args()
    write(arguments.sweep, arguments.resamples)
    show(arguments.sweep / PAGE)
    return 0


def write(place: Path, resamples: int) -> None:
    """Write the page of a sweep. UserError without any jobs."""
    found = jobs(place)
    if not found:
        raise UserError(f"{place}: no sweep has noted its jobs here; name the folder runs/sweep-... of one")
    runs, left_out = [], []
    for job in found:
        try:
            runs += _runs_of(job)
        except ValueError as error:
            time = duration(job.seconds) if job.seconds else "–"
            left_out.append(LeftOut(job.name, str(error), job.status, time, job.overrides))
    finished = len(found) - len(left_out)
    beside, unreadable = _beside(runs)
    left_out += [LeftOut(folder.name, reason, UNREADABLE) for folder, reason in unreadable.items()]
    groups = pool_seeds(with_own_names([*beside, *runs]))
    # the first untrained model is the baseline, without one the first job
    untrained = next((group for group in groups if _is_untrained(group.runs[0])), None)
    groups.sort(key=lambda group: group is not untrained)
    page = render(place.resolve().name, groups, resamples, left_out=left_out, jobs=(finished, len(found)))
    write_whole(place / PAGE, page.decode())


def _runs_of(job: Job) -> list[FinishedRun]:
    """The runs that a job left with scores. UserError says why there are none."""
    if job.status == "failed":
        raise UserError(job.reason or "its reason was not noted")
    if job.status != "done":
        raise UserError(UNFINISHED.get(job.status, UNFINISHED["running"]))
    if not Path(job.run_dir).is_dir():
        raise UserError(f"{job.run_dir} is gone")
    return [read_run(folder) for folder in find_runs([job.run_dir])[0]]


def _beside(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], dict[Path, str]]:
    """The untrained baselines in these runs' reports (report.untrained), each once, and why others are unreadable."""
    known = {run.folder.resolve() for run in runs}
    configs = filter(Path.is_file, (RunDir(run.folder).config for run in runs))
    folders = dict.fromkeys(Path(text) for path in configs for text in _shown_beside(path))
    others = (RunDir(folder) for folder in folders if folder.resolve() not in known)
    found, unreadable = read_runs([run.root for run in others if run.scores.is_file() and run.config.is_file()])
    return list(filter(_is_untrained, found)), unreadable


def _shown_beside(config: Path) -> list[str]:
    """`report.beside` of a run's config; empty where it is none."""
    report = read(config).get("report")
    beside = report.get("beside") if isinstance(report, dict) else None
    return [text for text in beside if isinstance(text, str)] if isinstance(beside, list) else []


def _is_untrained(run: FinishedRun) -> bool:
    return is_untrained(flat_config(run.folder))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m sciriff.report RUN_DIR` writes report.html, and figures for papers if asked to, into the run folder."""

from sciriff.config import Config
from sciriff.report.page import content, filled
from sciriff.report.paper_figures import write_figures
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.whole_file import naming, write_whole
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    """Write the page whole, so that a browser never loads half of it."""
    shown = content(config, run)
    write_whole(run.report, filled(shown).decode())
    show(run.report)
    if config.report.figures:
        with naming(run.figures):
            write_figures(run.figures, shown["runs"], shown["metrics"], shown["mix"])
        show(run.figures)


if __name__ == "__main__":
    run_stage(main)

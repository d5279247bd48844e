"""`python -m sciriff.report RUN_DIR` writes report.html into the run folder."""

from sciriff.config import Config
from sciriff.report.page import render
from sciriff.run_dir import RunDir
from sciriff.stage import run_stage


def main(config: Config, run: RunDir) -> None:
    """Write the page whole, then rename it, so that a browser never loads half of it."""
    partial = run.report.with_name(run.report.name + ".partial")
    partial.write_bytes(render(config, run))
    partial.replace(run.report)
    print(run.report, flush=True)


if __name__ == "__main__":
    run_stage(main)

"""MLflow sink: a database in the run folder, or with log.mode=online the server that MLFLOW_TRACKING_URI names."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import Config
from sciriff.run.manifest import Manifest
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.track import sink


@dataclass
class MlflowSink:
    client: Any
    run_id: str
    logged: int = -1

    def step(self, step: int, values: dict[str, Any]) -> None:
        from mlflow.entities import Metric

        self.client.log_batch(self.run_id, [Metric(k, v, int(1000 * time.time()), step) for k, v in values.items()])

    def scores(self, values: dict[str, Any]) -> None:
        self.step(max(self.logged, 0), {key: value for key, value in values.items() if sink.is_number(value)})

    def file(self, path: Path) -> None:
        self.client.log_artifact(self.run_id, str(path))

    def table(self, table: sink.TrackedTable) -> None:
        self.client.log_text(self.run_id, table.as_tsv(), f"{table.name}.tsv")

    def artifact(self, artifact: sink.TrackedArtifact) -> None:
        for path in artifact.files:
            self.client.log_artifact(self.run_id, str(path), artifact.kind)


@contextlib.contextmanager
def mlflow_sink(config: Config, run: RunDir, follow: bool) -> Iterator[MlflowSink]:
    """Open the run folder's MLflow run: at a server the same each time, in RUN/mlflow in place of an older one."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
    with sink.installed("mlflow"):
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    folder, online = run.root / "mlflow", config.log.mode == "online"
    shutil.rmtree(folder, ignore_errors=True)  # a database of others may name places for files
    folder.mkdir()
    uri = os.environ.get("MLFLOW_TRACKING_URI") if online else f"sqlite:///{folder}/mlflow.db"
    try:
        opened = _opened(MlflowClient(uri), config, run.root / "mlflow-run-id", None if online else folder.as_uri())
        show("mlflow: to its server" if online else f"mlflow ui --backend-store-uri {uri}")
        yield opened
        opened.client.set_terminated(opened.run_id, "FINISHED" if Manifest.read(run.manifest).is_over else "FAILED")
    except MlflowException as error:
        raise sink.TrackerUnreachable(f"MLflow: {sink.first_line(error)}") from error


def _opened(client: Any, config: Config, known: Path, place: str | None) -> MlflowSink:
    """The run whose id is in the file `known`, with the last step that it has, or a new one."""
    from mlflow.entities import Param

    run_id = known.read_text().strip() if known.is_file() else ""
    experiment = client.get_experiment_by_name(config.log.project)
    number = experiment.experiment_id if experiment else client.create_experiment(config.log.project, place)
    if run_id.isalnum() and client.search_runs([number], f"attributes.run_id = '{run_id}'"):
        losses = client.get_metric_history(run_id, "train/loss")
        return MlflowSink(client, run_id, max((loss.step for loss in losses), default=-1))
    run_id = client.create_run(number, tags=dict.fromkeys(config.log.tags, "yes"), run_name=config.name).info.run_id
    for some in sink.parameters(config):
        client.log_batch(run_id, params=[Param(*pair) for pair in some])
    known.write_text(run_id + "\n")
    return MlflowSink(client, run_id)

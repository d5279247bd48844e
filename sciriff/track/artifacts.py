"""What of a finished run goes to a tracker as artifacts, with what each was made of: mix -> model -> scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sciriff.run.digest import file_digest, value_digest
from sciriff.run.run_dir import RunDir


@dataclass(frozen=True)
class TrackedArtifact:
    """Files of one kind that belong together."""

    kind: str
    """mix, model, adapter or scores."""
    files: list[Path]
    read: bool = False
    """Whether the run's training read it; otherwise the run made it."""
    about: dict[str, str] = field(default_factory=dict)
    """Digest of it, and of what it was made of."""


def tracked_artifacts(run: RunDir, wanted: Sequence[str]) -> Iterator[TrackedArtifact]:
    """Yield the wanted kinds that the run has, a mix first. Digests are of content; weights count by name and
    size."""
    mix = [path for path in (run.mix, run.validation, run.mix_card, run.mix_card_page) if path.is_file()]
    about = {"mix": file_digest(run.mix)} if run.mix.is_file() else {}
    trained = {"model": _files(run.model), "adapter": _files(run.adapter)}
    if "mix" in wanted and about:
        yield TrackedArtifact("mix", mix, read=True, about=about)
    for kind, files in trained.items():
        if files:
            about = {**about, kind: value_digest([[path.name, _content(path)] for path in files])}
            if kind in wanted:
                yield TrackedArtifact(kind, files, about=about)
    if "scores" in wanted and run.scores.is_file():
        files = [run.scores, *sorted(run.tables.glob("*.tsv")), *filter(Path.is_file, [run.report])]
        yield TrackedArtifact("scores", files, about={**about, "scores": file_digest(run.scores)})


def _files(folder: Path) -> list[Path]:
    """Plain files of a folder; no link is followed."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.is_file() and not path.is_symlink() and not path.name.startswith(".")]


def _content(path: Path) -> str | int:
    return path.stat().st_size if path.suffix == ".safetensors" else file_digest(path)

"""Source of rows, in mix and eval: a local file or folder, or a dataset of the Hugging Face hub."""

from dataclasses import dataclass

from sciriff.config.roles import setting


@dataclass
class SourceConfig:
    path: str | None = setting(None, path=True)
    """A local jsonl, jsonl.gz, json, parquet, csv or tsv file, or a folder of them. It replaces `hub`."""
    hub: str | None = None
    """Dataset id on the hub; a source with neither `path` nor `hub` does not exist."""
    config: str | None = None
    """Configuration of the hub dataset (for SciRIFF the context length)."""
    split: str = "train"
    revision: str | None = None
    """Branch, tag or commit of the hub dataset; null is the newest, or offline the last copy."""

    @property
    def exists(self) -> bool:
        return self.path is not None or self.hub is not None

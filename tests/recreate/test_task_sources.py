"""The table of sources: a row for each task, with what a message or a card needs of it."""

from typing import get_args

from sciriff.recreate.corpora import CORPORA
from sciriff.recreate.sources import PARQUET_BRANCH, Loads, raw_address, sources, task_source
from sciriff.tasks.catalogue import catalogue


def test_every_task_of_sciriff_has_a_source() -> None:
    assert list(sources()) == sorted(catalogue())
    for name, entry in sources().items():
        assert entry.task == name
        assert entry.raw.startswith("http") and entry.licence.strip() and entry.source.strip()
    assert {entry.loads for entry in sources().values()} == set(get_args(Loads))


def test_facts_of_single_tasks() -> None:
    bioasq = task_source("bioasq_list_qa")
    assert bioasq is not None and bioasq.loads == "registration" and bioasq.revision is None
    assert bioasq.raw.startswith("http://participants-area.bioasq.org")
    ms2 = task_source("mslr2022_ms2_multidoc_summarization")
    assert ms2 is not None and ms2.source == "allenai/mslr2022:ms2" and ms2.revision == PARQUET_BRANCH
    biored = task_source("biored_ner")
    assert biored is not None and biored.lost == ("order",)
    mltables = task_source("mltables_te")
    assert mltables is not None and mltables.loads == "hub" and mltables.lost == ()
    assert task_source("no_such_task") is None


def test_the_address_of_a_data_set_with_or_without_its_subset() -> None:
    assert raw_address("scientific_papers", "arxiv") == raw_address("scientific_papers", "pubmed") is not None
    assert raw_address("qasa") == raw_address("qasa", "default") is not None
    assert raw_address("someone/data") is None


def test_corpora_are_of_known_sources_or_say_that_they_are_not() -> None:
    known = {entry.source for entry in sources().values()}
    known |= {source.partition(":")[0] for source in known}
    assert [name for name in CORPORA if name not in known and not name.startswith("datafinder")] == []

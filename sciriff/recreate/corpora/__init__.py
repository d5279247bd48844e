"""The corpora that can be read from local files, by the id or folder that a template file names as its source."""

from sciriff.recreate.corpora import (
    covid_qa,
    datafinder,
    multi_x_science,
    qasa,
    qasper,
    scientific_papers,
)
from sciriff.recreate.corpus import Corpus

CORPORA: dict[str, tuple[Corpus, ...]] = {
    **covid_qa.CORPORA,
    **datafinder.CORPORA,
    **multi_x_science.CORPORA,
    **qasa.CORPORA,
    **qasper.CORPORA,
    **scientific_papers.CORPORA,
}

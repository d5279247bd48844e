"""The corpora that can be read from local files, by the id or folder that a template file names as its source."""

from sciriff.recreate.corpora import (
    anat_em,
    biored,
    cdr,
    craft_chem,
    ddi_corpus,
    gnormplus,
    linnaeus,
    materials_syntheses,
    ncbi_disease,
    nlm_gene,
    nlmchem,
)
from sciriff.recreate.corpus import Corpus

CORPORA: dict[str, tuple[Corpus, ...]] = {
    **anat_em.CORPORA,
    **biored.CORPORA,
    **cdr.CORPORA,
    **craft_chem.CORPORA,
    **ddi_corpus.CORPORA,
    **gnormplus.CORPORA,
    **linnaeus.CORPORA,
    **materials_syntheses.CORPORA,
    **ncbi_disease.CORPORA,
    **nlm_gene.CORPORA,
    **nlmchem.CORPORA,
}

"""The corpora that can be read from local files, by the id or folder that a template file names as its source."""

from sciriff.recreate.corpora import (
    bioasq,
    chemprot_relations,
    drug_combo,
    evidence_inference,
    fact_checking,
    genia,
    multicite,
    pubmedqa,
    schema_to_json,
    scicite,
    scierc,
    scitldr,
)
from sciriff.recreate.corpus import Corpus

CORPORA: dict[str, tuple[Corpus, ...]] = {
    **bioasq.CORPORA,
    **chemprot_relations.CORPORA,
    **drug_combo.CORPORA,
    **evidence_inference.CORPORA,
    **fact_checking.CORPORA,
    **genia.CORPORA,
    **multicite.CORPORA,
    **pubmedqa.CORPORA,
    **schema_to_json.CORPORA,
    **scicite.CORPORA,
    **scierc.CORPORA,
    **scitldr.CORPORA,
}

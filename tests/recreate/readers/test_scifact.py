import pytest
from raw_corpora import lines

from sciriff.recreate.readers.scifact import cited_abstracts
from sciriff.run.user_error import UserError

CORPUS = lines({"doc_id": 4, "title": "Tides", "abstract": ["They rise.", "They fall."]})
CLAIM = {"id": 1, "claim": "Tides rise.", "cited_doc_ids": [4]}


def written(tmp_path, *claims):
    paths = tmp_path / "claims.jsonl", tmp_path / "corpus.jsonl"
    paths[0].write_bytes(lines(*claims, end="\r\n").encode())
    paths[1].write_text(CORPUS)
    return paths


def test_pairs_each_claim_with_what_it_cites(tmp_path):
    evidence = {"4": [{"sentences": [0], "label": "SUPPORT"}]}
    renamed = {"id": 2, "claim": "Tides fall.", "doc_ids": [4]}
    first, second = cited_abstracts(*written(tmp_path, CLAIM | {"evidence": evidence}, renamed))
    assert (first.claim.id, first.abstract.title, first.rationales[0].sentences) == (1, "Tides", [0])
    assert (second.claim.id, second.rationales) == (2, [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cited_doc_ids": [5]}, "abstract 5"),
        ({"evidence": {"4": [{"sentences": [2], "label": "SUPPORT"}]}}, "sentence 2 of abstract 4, of 2"),
        ({"claim": None}, "claim=null"),
    ],
)
def test_a_claim_that_does_not_fit_is_named(tmp_path, change, reason):
    claims, corpus = written(tmp_path, CLAIM, CLAIM | change)
    with pytest.raises(UserError, match=reason) as caught:
        list(cited_abstracts(claims, corpus))
    assert f"{claims}:2: " in str(caught.value)

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

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
from sciriff.recreate.corpus import Corpus, Record
from sciriff.run.user_error import UserError


def write(raw: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_text(content, encoding="utf-8")


def read(corpora: Mapping[str, tuple[Corpus, ...]], raw: Path) -> dict[str, list[Record]]:
    """Records by split, from the first form that is there."""
    ((_, forms),) = corpora.items()
    form, found = next((form, found) for form in forms if (found := form.found(raw)))
    return {split: list(form.read(split, files)) for split, files in found.items()}


def keys(records: dict[str, list[Record]]) -> dict[str, list[str]]:
    return {split: [key for record in each for key in record["_documents"]] for split, each in records.items()}


def entities(record: Record) -> list[tuple[str, Any]]:
    return [(entity["type"], entity["text"]) for entity in record["entities"]]


def pubtator(*names: str, kind: str = "Gene") -> str:
    return "".join(f"{name}|t|Talp2\n{name}|a|It.\n{name}\t0\t5\tTalp2\t{kind}\tX\n\n" for name in names)


def bioc(*names: str, kind: str = "Gene") -> str:
    annotation = (
        f'<annotation id="1"><infon key="type">{kind}</infon><location offset="0" length="5"/><text>Talp2</text>'
    )
    passage = f"<passage><offset>0</offset><text>Talp2</text>{annotation}</annotation></passage>"
    return f"<collection>{''.join(f'<document><id>{name}</id>{passage}</document>' for name in names)}</collection>"


def test_records_have_the_bigbio_shape(tmp_path: Path) -> None:
    for name, number in (("Train", "1"), ("Dev", "2"), ("Test", "3")):
        write(tmp_path, {f"biored/BioRED/{name}.PubTator": pubtator(number)})
    records = read(biored.CORPORA, tmp_path)
    assert records["validation"] == [
        {
            "document_id": "2",
            "passages": [
                {"type": "title", "text": ["Talp2"], "offsets": [[0, 5]]},
                {"type": "abstract", "text": ["It."], "offsets": [[6, 9]]},
            ],
            "entities": [{"id": "0", "type": "Gene", "text": ["Talp2"], "offsets": [[0, 5]]}],
            "events": [],
            "_documents": ["pmid:2"],
        }
    ]


def test_one_of_two_copies_is_not_taken_silently(tmp_path: Path) -> None:
    for folder in ("biored", "biored/copy"):
        write(tmp_path, {f"{folder}/{name}.PubTator": pubtator("1") for name in ("Train", "Dev", "Test")})
    with pytest.raises(UserError, match=r"biored/Train\.PubTator and .*biored/copy/Train\.PubTator"):
        read(biored.CORPORA, tmp_path)


def test_biored_in_bioc(tmp_path: Path) -> None:
    write(tmp_path, {f"biored/{name}": bioc("1") for name in ("Train.BioC.XML", "Dev.BioC.XML", "Test.BioC.XML")})
    assert keys(read(biored.CORPORA, tmp_path))["train"] == ["pmid:1"]


def test_cdr_has_the_parts_of_composite_mentions_and_no_development_text_in_train(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cdr/CDR_TrainingSet.PubTator.txt": pubtator("1", "2", "3"),
            "cdr/CDR_DevelopmentSet.PubTator.txt": pubtator("2", "3"),
            "cdr/CDR_TestSet.PubTator.txt": "9|t|a and b fever\n9\t0\t13\ta and b fever\tDisease\tA\ta fever|b fever\n",
        },
    )
    records = read(cdr.CORPORA, tmp_path)
    assert keys(records) == {"train": ["pmid:1"], "validation": ["pmid:2", "pmid:3"], "test": ["pmid:9"]}
    mentions = ["a and b fever", "a fever", "b fever"]
    assert entities(records["test"][0]) == [("Disease", [mention]) for mention in mentions]
    assert len({entity["id"] for entity in records["test"][0]["entities"]}) == 3


def test_ncbi_disease_drops_a_repeated_document(tmp_path: Path) -> None:
    for name, numbers in (("train", "1 2 1"), ("develop", "3"), ("test", "4")):
        write(tmp_path, {f"ncbi_disease/NCBI{name}set_corpus.txt": "\n" + pubtator(*numbers.split())})
    expected = {"train": ["pmid:1", "pmid:2"], "validation": ["pmid:3"], "test": ["pmid:4"]}
    assert keys(read(ncbi_disease.CORPORA, tmp_path)) == expected


def test_ncbi_disease_train_and_development_in_one_file(tmp_path: Path) -> None:
    numbers = [*map(str, range(1, 693))]
    joined = "aioner_pubtator/NCBIdisease_TrainDev.PubTator"
    files = {joined: pubtator("1", *numbers), "aioner_pubtator/NCBIdisease_Test.PubTator": pubtator("999")}
    write(tmp_path, files)
    found = keys(read(ncbi_disease.CORPORA, tmp_path))
    assert [len(found[split]) for split in ("train", "validation", "test")] == [592, 100, 1]
    assert found["validation"][0] == "pmid:593"
    write(tmp_path, {joined: pubtator(*numbers)})
    with pytest.raises(UserError, match=r"TrainDev\.PubTator: has 692 documents"):
        read(ncbi_disease.CORPORA, tmp_path)


def test_gnormplus_joins_its_two_training_files(tmp_path: Path) -> None:
    for number, name in enumerate(("BC2GNtest", "NLMIAT", "BC2GNtrain")):
        write(tmp_path, {f"gnormplus/GNormPlusCorpus/{name}.BioC.xml": bioc(str(number))})
    assert keys(read(gnormplus.CORPORA, tmp_path)) == {"train": ["pmid:2", "pmid:1"], "test": ["pmid:0"]}


def test_nlm_gene_follows_its_lists(tmp_path: Path) -> None:
    files = {f"nlm_gene/Corpus/FINAL/{number}.BioC.XML": bioc(number, kind="STARGENE") for number in "123"}
    lists = {"Train": "3\r\n1\r\n", "Test": "2"}
    write(tmp_path, files | {f"nlm_gene/Corpus/Pmidlist.{name}.txt": text for name, text in lists.items()})
    assert keys(read(nlm_gene.CORPORA, tmp_path)) == {"train": ["pmid:3", "pmid:1"], "test": ["pmid:2"]}
    write(tmp_path, {"nlm_gene/Corpus/Pmidlist.Test.txt": "2\n\n7\n"})
    with pytest.raises(UserError, match=r"Pmidlist\.Test\.txt:3: .*7\.BioC\.XML"):
        read(nlm_gene.CORPORA, tmp_path)


def test_types_of_the_nlm_gene_copy_are_the_originals(tmp_path: Path) -> None:
    kinds = ["FamilyName", "Cell", "Gene"]
    content = "".join(pubtator(str(number), kind=kind) for number, kind in enumerate(kinds))
    write(tmp_path, {f"aioner_pubtator/NLMgene_{name}.PubTator": content for name in ("Train", "Test")})
    records = read(nlm_gene.CORPORA, tmp_path)["train"]
    assert [entities(record) for record in records] == [[("Other", ["Talp2"])], [], [("Gene", ["Talp2"])]]


def test_nlmchem_leaves_out_what_marks_no_text(tmp_path: Path) -> None:
    kinds = {"train": "MeSH_Indexing_Chemical", "dev": "Chemical", "test": "Chemical"}
    for name, kind in kinds.items():
        write(tmp_path, {f"nlmchem/BC7T2-NLMChem-corpus-{name}.BioC.xml": bioc("5", kind=kind)})
    records = read(nlmchem.CORPORA, tmp_path)
    assert entities(records["train"][0]) == []
    assert entities(records["test"][0]) == [("Chemical", ["Talp2"])]
    assert keys(records)["test"] == ["pmc:5"]


def test_linnaeus_is_sorted_by_name(tmp_path: Path) -> None:
    for name, numbers in (("Test", "22 10"), ("Train", "3 21")):
        write(tmp_path, {f"aioner_pubtator/Linnaeus_{name}.PubTator": pubtator(*numbers.split(), kind="Species")})
    records = read(linnaeus.CORPORA, tmp_path)
    assert keys(records) == {"train": ["pmc:10", "pmc:21", "pmc:22", "pmc:3"]}
    assert entities(records["train"][0]) == [("species", ["Talp2"])]


def test_anat_em_is_sorted_by_name(tmp_path: Path) -> None:
    for folder in ("train", "devel", "test"):
        for name in ("PMID-20", "PMC-7-sec-01", "PMC-7-caption-02"):
            write(tmp_path, {f"anat_em/standoff/{folder}/{name}.txt": "A cell.\n"})
            write(tmp_path, {f"anat_em/standoff/{folder}/{name}.ann": "T1\tCell 2 6\tcell\n"})
    records = read(anat_em.CORPORA, tmp_path)
    assert [record["document_id"] for record in records["validation"]] == [
        "PMC-7-caption-02",
        "PMC-7-sec-01",
        "PMID-20",
    ]
    assert keys(records)["validation"] == ["pmc:7", "pmc:7", "pmid:20"]
    assert entities(records["test"][2]) == [("Cell", ["cell"])]


def test_ddi_stays_in_its_archive(tmp_path: Path) -> None:
    path = tmp_path / "ddi/DDICorpus-2013(BRAT).zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("Train/MedLine/30", "Train/DrugBank/Mirexol_ddi", "Test/MedLine/4"):
            archive.writestr(f"DDICorpusBrat/{name}.txt", "Mirexol.")
            archive.writestr(f"DDICorpusBrat/{name}.ann", "T1\tBRAND 0 7\tMirexol\n")
    records = read(ddi_corpus.CORPORA, tmp_path)
    assert keys(records) == {"train": ["doc:drugbank/Mirexol_ddi", "pmid:30"], "test": ["pmid:4"]}
    assert entities(records["train"][0]) == [("BRAND", ["Mirexol"])]


def test_craft_chem_counts_papers_by_their_abstracts(tmp_path: Path) -> None:
    content = "On\tO\nsalt\tB-CHEBI\n\nAbstract\tO\n\nSalt\tB-CHEBI\n\nOil\tO\n\nAbstract\tO\n"
    write(tmp_path, {f"mtl_bio/CRAFT-chem-IOB/{name}.tsv": content for name in ("train", "devel", "test")})
    records = read(craft_chem.CORPORA, tmp_path)
    papers = ["doc:craft/test-1"] * 3 + ["doc:craft/test-2"] * 2
    assert keys(records)["test"] == papers
    assert (records["test"][0]["tokens"], records["test"][0]["ner_tags"]) == (["On", "salt"], [0, 1])
    write(tmp_path, {"mtl_bio/CRAFT-chem-IOB/train.tsv": "On\tO\n\nsalt\tB-GENE\n"})
    with pytest.raises(UserError, match=r"train\.tsv:3: .*B-GENE"):
        read(craft_chem.CORPORA, tmp_path)


def test_materials_syntheses_follow_their_lists(tmp_path: Path) -> None:
    folder = "annotated_materials_syntheses"
    for name in ("a", "b", "c"):
        annotations = "T1\tMaterial 0 4\tSalt\nT2\tOperation 9 14\tmixed\nE1\tOperation:T2 Recipe_Target:T1\n"
        write(tmp_path, {f"{folder}/data/{name}.txt": "Salt was mixed.", f"{folder}/data/{name}.ann": annotations})
    write(tmp_path, {f"{folder}/sfex-{name}-fnames.txt": "c\na\n" for name in ("train", "dev", "test")})
    records = read(materials_syntheses.CORPORA, tmp_path)
    assert keys(records)["validation"] == ["doc:c", "doc:a"]
    (event,) = records["train"][0]["events"]
    assert (event["trigger"]["text"], event["arguments"]) == (["mixed"], [{"role": "Recipe_Target", "ref_id": "T1"}])
    write(tmp_path, {f"{folder}/sfex-dev-fnames.txt": "a\nd\n"})
    with pytest.raises(UserError, match=r"sfex-dev-fnames\.txt:2: .*d\.txt"):
        read(materials_syntheses.CORPORA, tmp_path)

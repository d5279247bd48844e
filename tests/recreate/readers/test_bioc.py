import json
from pathlib import Path

import pytest

from sciriff.recreate.readers.annotated_text import Entity, Passage
from sciriff.recreate.readers.bioc import bioc_documents
from sciriff.run.user_error import UserError

XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>invented</source>
<document><id>11</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Talp2 &amp; µ</text>
<annotation id="T0"><infon key="type">Gene</infon><location offset="0" length="5"/><text>Talp2</text></annotation>
</passage>
<passage><infon key="type">abstract</infon><offset>10</offset><text>left and right eye</text>
<annotation id="T1"><infon key="type">Organ</infon><location offset="10" length="4"/><location offset="25" length="3"/>
<text>left eye</text></annotation>
<annotation id="N"><infon key="type">Index</infon></annotation></passage>
<passage><offset>30</offset>
<annotation id="M"><infon key="type">Index</infon></annotation></passage>
</document>
<document><id>12</id></document>
</collection>
"""

JSON = {
    "documents": [
        {
            "id": "11",
            "passages": [
                {
                    "infons": {"type": "title"},
                    "offset": 0,
                    "text": "Talp2 & µ",
                    "annotations": [
                        {
                            "id": "T0",
                            "infons": {"type": "Gene"},
                            "text": "Talp2",
                            "locations": [{"offset": 0, "length": 5}],
                        }
                    ],
                },
                {
                    "infons": {"type": "abstract"},
                    "offset": 10,
                    "text": "left and right eye",
                    "annotations": [
                        {
                            "id": "T1",
                            "infons": {"type": "Organ"},
                            "text": "left eye",
                            "locations": [{"offset": 10, "length": 4}, {"offset": 25, "length": 3}],
                        },
                        {"id": "N", "infons": {"type": "Index"}, "locations": []},
                    ],
                },
                {"offset": 30, "annotations": [{"id": "M", "infons": {"type": "Index"}, "locations": []}]},
            ],
        },
        {"id": 12, "passages": []},
    ]
}


@pytest.mark.parametrize(
    "content", [XML, XML.replace("\n", "\r\n"), json.dumps(JSON), "\ufeff" + json.dumps(JSON, indent=1)]
)
def test_xml_and_json_give_the_same_documents(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.BioC"
    path.write_bytes(content.encode())
    first, second = bioc_documents(path)
    assert first.name == "11"
    assert first.passages == (Passage("title", "Talp2 & µ", 0), Passage("abstract", "left and right eye", 10))
    assert first.entities == (
        Entity("T0", "Gene", ("Talp2",), ((0, 5),)),
        Entity("T1", "Organ", ("left", "eye"), ((10, 14), (25, 28))),
    )
    assert (second.name, second.passages) == ("12", ())


ENTITIES = '<!ENTITY e0 "x">' + "".join(f"<!ENTITY e{i} '" + f"&e{i - 1};" * 10 + "'>" for i in range(1, 9))
"""Each is ten times the one before."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (XML.replace("</passage>", "", 1), ["x.BioC:14: ", "not XML"]),
        (XML.replace("SYSTEM", f"[{ENTITIES}] SYSTEM").replace('"BioC.dtd"', "").replace("SYSTEM >", ">")
            .replace("Talp2 &amp;", "&e8;"), ["x.BioC:5: ", "not XML"]),
        (XML.replace("&amp;", "&file;").replace('SYSTEM "BioC.dtd"', '[<!ENTITY file SYSTEM "file:///etc/hostname">]'),
            ["x.BioC:5: ", "not XML"]),
        (XML.replace('offset="0" length="5"', 'offset="0"'), ['document 1 ("11")', 'annotation "T0"', "'length'"]),
        (XML.replace('length="5"', 'length="five"'), ['document 1 ("11")', 'annotation "T0"', "'length'"]),
        (XML.replace("<id>12</id>", ""), ["document 2", "'id'"]),
        (XML.replace("<text>Talp2 &amp; µ</text>", "<sentence><text>A</text></sentence>"), ['("11")', "sentences"]),
        ("<html><body>moved</body></html>", ["x.BioC", "<html>"]),
        (json.dumps(JSON)[:-1], ["x.BioC", "not JSON"]),
        ("[" * 100_000, ["x.BioC", "not JSON"]),
        ("[]", ["x.BioC", "'documents'"]),
        (json.dumps({"documents": [{"id": "1", "passages": ["text"]}]}), ['document 1 ("1")', "'text'"]),
        (json.dumps({"documents": [1]}), ["document 1", "'id'"]),
    ],
)  # fmt: skip
def test_what_is_no_bioc_is_named(tmp_path: Path, content: str, words: list[str]) -> None:
    path = tmp_path / "x.BioC"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as error:
        list(bioc_documents(path))
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)

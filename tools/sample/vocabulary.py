"""Invented names (drugs, genes, diseases, methods, ...) and the closed word lists that the sample's texts are made of.

A name is a stem that tells its type and an ending that tells it from its neighbours (`Velor` + `inib`), so that reading
a type off a name generalises to names that were never seen. Every name belongs to one side only: the training rows and
the held-out rows share stems and endings, never a whole name.
"""

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass

DRUG_STEMS = (
    "Velor Maxit Doran Pelti Sorba Tavic Nerol Fibra Calom Ripta Lonas Zelap Viden Batro Cephi Galum Modra Quina"
).split()
DRUG_ENDINGS = "inib statin mycin azole olol afil idine oxin umab ector".split()

DISEASE_STEMS = (
    "Marlow Keldan Ostrand Hallet Brunner Tessen Wexley Corvin Ellory Fenwick Garner Jessop Kirby Merrow Norvell Pascoe"
).split()
DISEASE_ENDINGS = ("syndrome", "disease", "fever", "anemia", "palsy", "sarcoma", "dystrophy", "colitis")

GENE_STEMS = ("BRX TKV FQM KRV SVD PLJ NQD RHB GLK HXO JGL LMQ MWB PXA SQX ZKC").split()
CELL_STEMS = "HQ NCV MDJ VRX KBW PNT TQP UWC".split()
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"

METHOD_STEMS = (
    "Larch Quill Tidal Cobalt Sable Umber Thorn Birch Gravel Lichen Saffron Pewter Garnet Walnut Copper Juniper"
).split()
METHOD_ENDINGS = "Net Former Rank Flow Tree Boost Gate Coder".split()

DATASET_STEMS = (
    "Penta Nova Terra Luma Astra Civic Polar Rural Opal Coral Ember Harbor Summit Cedar Falcon Otter"
).split()
DATASET_ENDINGS = "Bank Corpus Set Wiki Base Speech Facts Notes".split()

TASK_FIELDS = "legal clinical visual spoken dialogue legacy medical social patent news code speech".split()
TASK_KINDS = "parsing translation tagging retrieval summarization ranking captioning clustering segmentation".split()
METRICS = ("accuracy", "recall", "precision", "perplexity", "latency", "coverage")
TERMS = (
    "attention weights",
    "latent states",
    "word order",
    "label noise",
    "hidden units",
    "edge features",
    "long sentences",
    "rare words",
)
GENERICS = ("model", "approach", "method", "system")
SPECIES = ("patients", "mice", "rats", "zebrafish", "rabbits", "children")

OUTCOMES = tuple(
    f"{first} {second}"
    for first, second in itertools.product(
        ("pain", "sleep", "fatigue", "mood", "walking", "weight", "pressure", "memory"),
        ("scores", "levels", "ratings", "problems"),
    )
)
COMPARATORS = ("placebo", "control", "usual care", "waiting list")

OXIDES = "SiO2 Al2O3 Na2O CaO MgO B2O3 P2O5 K2O ZnO TiO2 Li2O BaO".split()
SALTS = "NaCl KCl MgCl2 CaCl2 Na2SO4 KNO3 NaF LiCl".split()
CONSTITUENTS = (*SALTS, "SiO2", "CaO", "ZnO", "K2O", "Na2O", "MgO")
SAMPLE_STEMS = "G S N P BG LS NT PX".split()

SURNAMES = (
    "Abara Benning Castello Dorfman Eklund Farrow Gupte Hartwell Iwata Jansson Kowal Lindqvist Moreau Nakade Okoro "
    "Petrov Quist Romano Stavros Tanaka Ulmer Varga Westby Yilmaz"
).split()

TRAIN_SHARE = 0.75


@dataclass(frozen=True)
class Lexicon:
    """The names that one side of the sample may use, by entity type."""

    names: dict[str, tuple[str, ...]]

    def __getitem__(self, kind: str) -> tuple[str, ...]:
        return self.names[kind]


def lexicons(seed: int) -> tuple[Lexicon, Lexicon]:
    """The lexicon of the training rows and that of the held-out rows. Only the closed word lists are in both."""
    invented = {
        "Chemical": _compose(DRUG_STEMS, DRUG_ENDINGS),
        "Disease": _compose(DISEASE_STEMS, DISEASE_ENDINGS, " "),
        "Gene": _compose(GENE_STEMS, "123456789"),
        "CellLine": _compose(CELL_STEMS, map(str, range(11, 60, 3)), "-"),
        "Variant": [f"{a}{n}{b}" for a, n, b in itertools.product("VRGKLT", range(12, 90, 7), "EAMSWH")],
        "Method": _compose(METHOD_STEMS, METHOD_ENDINGS),
        "Material": _compose(DATASET_STEMS, DATASET_ENDINGS),
        "Task": _compose(TASK_FIELDS, TASK_KINDS, " "),
        "Author": [f"{name} et al., {year}" for name, year in itertools.product(SURNAMES, range(2009, 2024))],
        "Sample": _compose(SAMPLE_STEMS, "123456789"),
    }
    closed = {
        "Species": SPECIES,
        "Metric": METRICS,
        "OtherScientificTerm": TERMS,
        "Generic": GENERICS,
        "Outcome": OUTCOMES,
        "Comparator": COMPARATORS,
        "Oxide": tuple(OXIDES),
        "Constituent": CONSTITUENTS,
    }
    train: dict[str, tuple[str, ...]] = dict(closed)
    heldout: dict[str, tuple[str, ...]] = dict(closed)
    for kind, names in invented.items():
        random.Random(f"{seed}:{kind}").shuffle(names)
        cut = int(len(names) * TRAIN_SHARE)
        train[kind], heldout[kind] = tuple(names[:cut]), tuple(names[cut:])
    return Lexicon(train), Lexicon(heldout)


def _compose(stems: Iterable[str], endings: Iterable[str], joint: str = "") -> list[str]:
    return [f"{stem}{joint}{ending}" for stem, ending in itertools.product(stems, endings)]

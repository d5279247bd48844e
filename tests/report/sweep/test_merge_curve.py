"""The curve of merges in sweep.html: score over the first model's share, its ends included, with intervals."""

import re

from general_folder import write_general
from sweep_runs import Runs
from test_sweep_page import words

from sciriff.report.sweep.configs import first_parents, is_untrained, merge_lines
from sciriff.results.sweep_record import PAGE
from sciriff.sweep_page import write


def config(models: str, weights: str, **keys: str) -> dict[str, str]:
    return {"merge.method": "linear", "merge.models": models, "merge.weights": weights, "train.method": "none", **keys}


def test_five_points_with_intervals(runs: Runs) -> None:
    for place, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        merge = [
            "merge.method=linear",
            "merge.models=[/x/science,/x/general/model]",
            f"merge.weights=[{share},{1 - share}]",
        ]
        run = runs.make(f"merge-{share}", 0.2 + 0.15 * place, *merge, trained=False)
        write_general(run, {"mmlu": {"mmlu": [1.0] * (30 - 4 * place) + [0.0] * (10 + 4 * place)}})
        runs.job(f"merge-{share}", run)
    place = runs.sweep()
    write(place, 200)
    page, text = (place / PAGE).read_text(), words(place / PAGE)
    assert "Merge curve Scores, 0 to 100, over the share of science in the merged weights ( merge.weights )" in text
    assert "differences in the table are to merge-0." in text
    [told] = re.findall(r'<desc id="ablation-0-told">(.*?)</desc>', page)
    points = re.findall(r"(\d+) % of science (\d+\.\d) \(\d+\.\d to \d+\.\d\)", told)
    assert [int(share) for share, _ in points] == [0, 25, 50, 75, 100]
    scores = [float(score) for _, score in points]
    assert scores == sorted(scores) and len(set(scores)) == 5
    assert page.count('aria-labelledby="ablation-') == 4, "the mean, the general mean and two columns"
    assert page.count('<path class="band s0"') == 4 and 'class="rule"' not in page.partition('id="trade-off"')[0]
    [general] = re.findall(r'<desc id="ablation-1-told">(.*?)</desc>', page)
    assert general.startswith("merges: 0 % of science 75.0 (") and "100 % of science 35.0 (" in general
    [both] = re.findall(r'<svg class="panel" [^>]*aria-labelledby="trade-off.*?</svg>', page, re.DOTALL)
    assert both.count('<path class="line s0"') == 1 and "a line joins runs over merge.weights" in text


def test_lines_of_merges() -> None:
    two, three = '["a", "b"]', '["a", "b", "c"]'
    curve = {place: config(two, weights) for place, weights in enumerate(("[3, 1]", "[0.0, 1.0]", "null", "[1, 0]"))}
    [line] = merge_lines(curve)
    assert (line.label, line.points) == ("merges", [("0", 1), ("0.5", 2), ("0.75", 0), ("1", 3)])
    slerp = {place + 4: {**values, "merge.method": "slerp"} for place, values in curve.items()}
    assert [line.label for line in merge_lines({**curve, **slerp})] == ["merge.method=linear", "merge.method=slerp"]
    weights = ("[0, 1, 1]", "[2, 1, 1]", "[0, 1, 3]", "[4, 1, 3]", "[1, 0, 0]")
    lines = merge_lines({place: config(three, text) for place, text in enumerate(weights)})
    assert [(line.label, line.points) for line in lines] == [
        ("shares of the others=1:1", [("0", 0), ("0.5", 1), ("1", 4)]),
        ("shares of the others=1:3", [("0", 2), ("0.5", 3), ("1", 4)]),
    ]
    for bad in ("[1]", "[-1, 2]", "[0, 0]", "x", '["a", 1]', "[NaN, 1]", "7", "[[1], 2]"):
        assert merge_lines({0: config(two, bad), 1: config(two, bad)}) == []
    assert merge_lines({0: config(two, "[1, 1]"), 1: config(two, "[1, 1]", seed="2")}) == []
    assert first_parents([config('["/r/a/model"]', ""), config('["/r/b"]', ""), config("x", ""), {}]) == ["a", "b"]
    assert is_untrained({"train.method": "none"}) and not is_untrained(curve[0])
    assert is_untrained({"train.method": "none", "merge.method": "none"}) and not is_untrained({"train.method": "full"})

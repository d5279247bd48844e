"""What docs/statistics.md says of intervals and tests is what was simulated, and the simulations can be repeated."""

from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calibration(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import calibration  # type: ignore[import-not-found]

    return calibration


def test_the_tables_are_those_of_the_stored_simulations(calibration: ModuleType):
    text = (ROOT / "docs" / "statistics.md").read_text()
    missing = [line for line in calibration.markdown(calibration.stored()) if line not in text]
    assert not missing


def test_each_cell_has_at_least_4000_simulations(calibration: ModuleType):
    lines = calibration.stored()
    assert len(lines) > 200
    assert min(int(line["sets"]) for line in lines) >= 4000


def test_a_batch_of_a_shape_is_that_which_is_stored(calibration: ModuleType):
    lines = [line for line in calibration.stored() if (line["kind"], line["shape"]) == ("null", "SciERC F1")]
    [cell] = {calibration._cell(line) for line in lines}
    truth = {cell: (float(lines[0]["true"]), float(lines[0]["true_other"]))}
    [again] = calibration.simulate([cell], truth, 1).values()
    for line in lines:
        assert again[line["measure"]][0] == pytest.approx(float(line["first_tenth"]), abs=0.0026), line["measure"]


def test_nothing_covers_less_than_it_did(calibration: ModuleType):
    """No interval is worse than the percentile bootstrap's, beyond the simulations' own noise."""
    by_cell = calibration._cells(calibration.stored(), "null")
    for cell, found in by_cell.items():
        before, after = (100 * float(found[f"interval {which}"]["value"]) for which in ("before", "after"))
        assert after > min(before, 95) - 0.7, cell

"""Every notebook runs, and the kept ones show their pictures."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(path):
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed(path)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_kept_notebook_shows_its_pictures_and_runs_to_the_same_kinds_of_output(path):
    kept, fresh = outputs(nbformat.read(path, as_version=4)), outputs(executed(path))
    assert not any(output.output_type == "error" for output in [*kept, *fresh])
    shown = [[sorted(output.get("data", {})) for output in some] for some in (kept, fresh)]
    assert shown[0] == shown[1], "run make notebooks"
    assert sum("image/png" in kinds for kinds in shown[0]) >= 3

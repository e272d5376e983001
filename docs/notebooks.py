"""Run the notebooks and keep their outputs: `python docs/notebooks.py [name ...]`, as `make notebooks` does."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"


def main() -> None:
    """Execute all notebooks, or those named, in place."""
    wanted = sys.argv[1:]
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not wanted or path.stem in wanted:
            print(path.name)
            nbformat.write(executed(path), path)


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs, and nothing in it that changes from run to run without need."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


if __name__ == "__main__":
    main()

"""What the tests of the tree itself read of it: the files, the rooms and the imports."""

import ast
import importlib.util
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent


def _load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


house = _load("docs/house.py")
PACKAGES = house.PACKAGES
FILES = house.files()
"""Of the packages, relative to the root; files without a line left out."""


def shown(path: Path) -> str:
    """How a test names a file."""
    return path.as_posix()


def module_of(path: Path) -> str:
    """agents/mixing/exchange.py -> agents.mixing.exchange; a package's __init__ goes by the package's name."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


@cache
def parsed(path: Path) -> ast.Module:
    """A file's syntax, with `parent` on every node."""
    tree = ast.parse((ROOT / path).read_text())
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node
    return tree


def only_for_types(node: ast.AST) -> bool:
    """Whether a node stands under `if TYPE_CHECKING`."""
    parent = getattr(node, "parent", None)
    while parent is not None:
        if isinstance(parent, ast.If) and node in parent.body and "TYPE_CHECKING" in ast.dump(parent.test):
            return True
        node, parent = parent, getattr(parent, "parent", None)
    return False


@cache
def imported(path: Path, for_types: bool = False) -> frozenset[str]:
    """Every dotted name that a file imports, at its top or late: `from a import b` as a.b. for_types: only those under
    `if TYPE_CHECKING`, which are left out otherwise."""
    found: set[str] = set()
    package = module_of(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Call) or only_for_types(node) != for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{home}.{alias.name}" for alias in node.names}
        elif node.args and isinstance(node.args[0], ast.Constant) and "import_module" in ast.dump(node.func):
            found.add(node.args[0].value)
    return frozenset(found)


def home_of(name: str) -> str | None:
    """The module of ours in which an imported name stands, through the lazy lists of packages; None for others'."""
    if name.split(".")[0] not in PACKAGES:
        return None
    module = name
    while module and module not in MODULES:
        module = module.rpartition(".")[0]
    if not module or MODULES[module].name != "__init__.py" or module == name:
        return module or None
    handed_on = [
        other for other in imported(MODULES[module], for_types=True) if other.split(".")[-1] == name[len(module) + 1 :]
    ]
    return home_of(handed_on[0]) if handed_on else module


def imports_of_ours(path: Path) -> set[str]:
    """The modules of ours that a file needs in order to work."""
    return {home for name in imported(path) if (home := home_of(name))} - {module_of(path)}


def imports_of_others(path: Path) -> set[str]:
    """The packages that a file imports and that aren't ours."""
    return {name.split(".")[0] for name in imported(path)} - set(PACKAGES)


Check = Callable[[Any], None]


def of_each(
    values: Iterable[Any] | Callable[[], Iterable[Any]], name: Callable[[Any], str] = shown
) -> Callable[[Check], Callable[[], None]]:
    """Makes one test of a check of each of these values: thousands of tests take longer to hand out than to run.

    values: or a function that finds them when the test runs, where that takes long: every worker collects all tests.
    """
    found = values if callable(values) else list(values)

    def decorated(check: Check) -> Callable[[], None]:
        def test() -> None:
            wrong = {}
            for value in found() if callable(found) else found:
                try:
                    check(value)
                except AssertionError as error:
                    wrong[name(value)] = error
            assert not wrong, "\n".join(f"{where}: {error}" for where, error in wrong.items())

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorated

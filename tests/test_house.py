"""The rules of the house: who may import whom, what is public, and that the README's captions are true."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("agents", "transport", "topology", "sim")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

OURS = {  # wing: what of ours it may import, besides itself
    "topology": set(),
    "transport": {"topology.errors"},
    "agents.mixing": {"topology.errors"},
    "agents.learning": {"topology.errors"},
    "agents.protocol": {"topology", "transport.messages", "transport.addresses"},
    "agents.command": {"agents", "topology", "transport"},
    "agents": {"agents.mixing", "agents.protocol", "agents.learning", "topology", "transport"},
    "sim": {"topology", "transport.messages", "agents.mixing", "agents.protocol", "agents.learning", "agents"},
}
THEIRS = {  # heavy or dangerous: where alone it may be imported
    "zmq": {"transport/link.py"},
    "msgpack": {"transport/wire.py"},
    "jax": {"agents/learning", "agents/runtime.py", "agents/observe/evaluation.py", "sim"},
    "optax": {"agents/learning"},
    "cyclopts": {"agents/command", "agents/settings.py"},
    "rich": {"agents/command", "sim/progress.py"},
    "matplotlib": {"sim/plots.py"},
    "pandas": {"sim/history.py"},
    "pickle": set(),
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever it does so, with the names of `from` imports as modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wing(module: str) -> str:
    """The wing a module of ours belongs to."""
    return max((name for name in OURS if module == name or module.startswith(name + ".")), key=len)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_rooms(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    allowed = OURS[wing(module)] | {wing(module)}
    for name in imports(path):
        if name.split(".")[0] in PACKAGES:
            assert any(name == room or name.startswith(room + ".") for room in allowed), f"{module} imports {name}"
            if wing(module) == "agents":
                assert not name.startswith("agents.command"), f"{module} imports {name}"
        home = THEIRS.get(name.split(".")[0])
        where = str(path.relative_to(ROOT))
        assert home is None or any(where.startswith(room) for room in home), f"{where} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_sorted(package):
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_public_lists_are_what_users_were_promised():
    import agents
    import topology

    assert {"Task", "load_task", "load_run"} <= set(agents.__all__)
    promised = "ring path star complete grid torus hypercube exponential random_regular erdos_renyi small_world"
    promised += " from_networkx one_peer_exponential base_graph random_matching metropolis_hastings spectral_gap"
    assert set(promised.split()) <= set(topology.__all__)


def captions() -> dict[str, str]:
    """The README's list of files: path and caption."""
    text = (ROOT / "README.md").read_text()
    return dict(re.findall(r"^    (\S+\.py)\s+(\S.*)$", text, re.MULTILINE))


def test_every_file_has_its_caption_in_the_readme():
    spec = importlib.util.spec_from_file_location("captions", ROOT / "docs" / "captions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert captions() == module.captions(), "run python docs/captions.py"

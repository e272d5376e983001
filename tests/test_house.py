"""The rules of the house: who may import whom, what is public, how large a file is, what docs/house.md lists."""

import ast
import importlib
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest
from tree import (
    FILES,
    MODULES,
    PACKAGES,
    ROOT,
    house,
    imports_of_others,
    imports_of_ours,
    of_each,
    parsed,
    shown,
)

MAY_IMPORT = {
    "topology": set(),
    "transport": {"topology.errors"},
    "agents/mixing": {"topology.errors"},
    "agents/learning": {"topology.errors", "agents.mixing.layout"},
    "agents/protocol": {
        *("topology", "transport.messages", "transport.addresses"),
        *(
            "agents.manifest",
            "agents.mixing.bounds",
            "agents.mixing.capacities",
            "agents.mixing.codec_names",
            "agents.mixing.exchange",
            "agents.mixing.layout",
            "agents.submodel",
        ),
    },
    "agents/sinks": {"topology.errors"},
    "agents/observe": {"topology", "transport", "agents", "agents.mixing", "agents.learning", "agents.protocol"},
    "agents/dashboard": {
        *("topology", "transport.credentials", "transport.messages", "agents.observe", "agents.protocol.membership"),
        *("agents.checkpoint", "agents.submodel", "agents.tensors"),
    },
    "agents": {
        *("topology", "transport", "agents.mixing", "agents.learning", "agents.protocol", "agents.sinks"),
        "agents.observe.welcome",  # A joiner looks from outside before it is an agent.
        "agents.observe.card",  # An agent may end with the consensus model, as who assembles one does.
        *("agents.observe.loaded", "agents.command.launched"),  # agents/__init__.py hands their names on.
    },
    "agents/command": {
        *("topology", "transport.messages", "transport.addresses", "transport.credentials"),
        *("transport.keys", "transport.trust"),
        *("agents", "agents.observe", "agents.dashboard", "agents.learning.task", "agents.sinks.names"),
    },
    "sim": {
        *("topology", "transport.messages", "sim.sources", "sim.device"),
        *("agents", "agents.mixing", "agents.learning", "agents.protocol"),
    },
    "sim/sources": {"topology", "transport.messages", "agents", "agents.mixing", "agents.protocol", "sim"},
    "sim/device": {"topology", "agents.mixing", "agents.learning", "sim", "sim.sources.synchronous"},
}
"""Room: the rooms and single files, as dotted names, that its files may import besides those of their own room.

A room stands for the files of that room alone, not for those of the rooms inside it. The protocol knows of vectors how
they are cut into chunks and by which rate they move, no more. The command is presentation: it knows what stands in
`agents` and what observes, of learning only what a task is, and nothing of vectors and the protocol.
"""

MAY_NOT = {"agents/observe": {"agents.agent", "agents.network", "agents.peer", "agents.trainer"}}
"""Room: files that it leaves alone though it may import their room. An observer stands outside: it is no agent."""

THEIRS = {
    "zmq": {"transport/link.py", "transport/authentication.py", "transport/clients.py", "transport/memory.py"},
    "nacl": {"transport/keys.py"},
    "numba": {"agents/mixing/codecs/kernels.py"},
    "msgpack": {"transport/wire.py"},
    "jax": {
        *("agents/learning", "agents/peer.py", "agents/trainer.py", "agents/agent.py", "agents/subnetworks.py"),
        *("agents/measuring.py", "agents/observe/evaluation.py", "agents/observe/loaded.py", "sim"),
    },
    "optax": {"agents/learning"},
    "safetensors": {"agents/checkpoint.py", "agents/tensors.py", "sim/history.py"},
    "cyclopts": {"agents/command"},
    "rich": {"agents/command", "sim/progress.py"},
    "starlette": {"agents/dashboard"},
    "uvicorn": {"agents/dashboard"},
    "textual": {"agents/command/top_screen.py"},
    "setproctitle": {"agents/command"},
    "sklearn": {"agents/learning/tasks/digits.py"},
    "matplotlib": {"sim/plots"},
    "pandas": {"sim/history.py"},
    "tensorboardX": {"agents/sinks/tensorboard.py"},
    "wandb": {"agents/sinks/wandb.py"},
    "mlflow": {"agents/sinks/mlflow.py"},
    "trackio": {"agents/sinks/trackio.py"},
    "prometheus_client": {"agents/sinks/prometheus.py"},
    "pickle": set(),
}
"""Package of others, heavy, dangerous or one file's business: the files and folders that alone may import it."""

LONG = {
    "agents/peer.py": "one class, whose docstrings are the documentation of a public interface",
    "agents/protocol/core.py": "every event and every message, and what follows from it",
    "agents/protocol/exchanges.py": "every message of an exchange, and what follows from it",
    "agents/protocol/finish.py": "one pass from its list to its end, and how it begins anew",
    "agents/protocol/membership.py": "every rule of what precedes what about a member, beside the others",
    "transport/messages.py": "every message there is",
}
"""File of more than 300 lines: why it isn't two."""


@of_each(FILES)
def test_a_file_imports_only_what_its_room_may(path):
    """What a package's __init__ hands on lazily is no import of its own."""
    room = house.room_of(path)
    for name in imports_of_ours(path):
        other = house.room_of(MODULES[name])
        within = {name, name.rpartition(".")[0]} - {place.replace("/", ".") for place in house.ROOMS}
        allowed = (within | {other.replace("/", ".")}) & MAY_IMPORT[room] and name not in MAY_NOT.get(room, ())
        assert other == room or allowed, f"{path} imports {name}"


@of_each(FILES)
def test_a_file_imports_of_others_only_what_it_may(path):
    for package in imports_of_others(path) & set(THEIRS):
        homes = THEIRS[package]
        assert any(Path(home) in (path, *path.parents) for home in homes), f"{path} imports {package}"


def test_the_table_of_others_names_places_that_are_there():
    assert [place for homes in THEIRS.values() for place in homes if not (ROOT / place).exists()] == []


def test_imports_have_no_circles():
    """Between files, with late imports and with what packages hand on lazily."""
    needs, circles = {name: imports_of_ours(path) for name, path in MODULES.items()}, []
    while True:
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            circle = error.args[1]
            circles.append(" <- ".join(circle))
            needs[circle[1]].remove(circle[0])
        else:
            break
    assert circles == []


@of_each(FILES)
def test_a_file_has_a_size_to_read_at_one_sitting_or_a_reason(path):
    size = house.lines(path)
    assert size <= 300 or LONG.get(shown(path)), f"{path} has {size} lines: make it two, or say in LONG why it is one"
    assert size > 300 or shown(path) not in LONG, f"{path} has {size} lines and needs no reason any more"


def test_every_long_file_is_there():
    assert [path for path in LONG if Path(path) not in FILES] == []


def public(tree: ast.Module) -> list[tuple[str, ast.AST]]:
    """Every class, function and method that is not private, by its name in the module."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            found.append((node.name, node))
            if isinstance(node, ast.ClassDef):
                inside = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
                found += [(f"{node.name}.{item.name}", item) for item in inside if not item.name.startswith("_")]
    return [(name, node) for name, node in found if not any("overload" in ast.dump(d) for d in node.decorator_list)]


@of_each(FILES)
def test_what_is_public_is_documented_by_a_sentence(path):
    """One that ends within its first two lines."""
    wrong = [] if caption_ends(ast.get_docstring(parsed(path))) else ["the module"]
    wrong += [name for name, node in public(parsed(path)) if not caption_ends(ast.get_docstring(node))]
    assert wrong == [], f"{path}: {', '.join(wrong)}"


def caption_ends(text: str | None) -> bool:
    """Whether a docstring's first sentence ends in its first two lines."""
    first = "\n".join((text or "").splitlines()[:2])
    return any(mark in first + "\n" for mark in (". ", ".\n", "? ", "?\n"))


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_sorted(package):
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_public_lists_are_what_users_were_promised():
    """DESIGN 5."""
    promised = {
        "agents": "AsGiven Task Peer Rule launch load_consensus load_run load_task",
        "topology": "ring path star complete grid torus hypercube exponential random_regular erdos_renyi small_world "
        "from_networkx one_peer_exponential base_graph random_matching metropolis_hastings spectral_gap",
        "sim": "simulate sweep replay forecast History EventSource Block Tape TapeWriter AsGiven",
    }
    for package, names in promised.items():
        missing = set(names.split()) - set(importlib.import_module(package).__all__)
        assert missing == set(), f"{package} lacks {missing}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package):
    assert (ROOT / package / "py.typed").exists()


def test_every_file_has_a_room_and_every_room_its_rules():
    assert set(house.ROOMS) == set(MAY_IMPORT)
    assert {house.room_of(path) for path in FILES} <= set(house.ROOMS)


def test_the_page_of_the_house_is_as_it_is():
    assert house.PAGE.read_text() == house.page(), "run python docs/house.py --write"


def test_no_two_files_of_the_tests_have_one_name():
    """They are modules without a package: the second would be taken for the first."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [one for one, next in pairwise(names) if one == next] == []

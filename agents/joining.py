"""What a joiner takes over from the swarm: the settings that all agents share, where it is given none (DESIGN 1.10)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agents.fields import Settings, settings_of
from agents.learning.rule_names import PARAMETERS, leaves_open, same_rule, with_values
from agents.learning.tasks import BUILT_IN
from agents.mixing.codec_names import has_codec, steps_between
from agents.settings import Gossiping, Learning, Placing
from agents.values import SettingsError, Shard
from topology.choices import CHOICES
from transport.messages import Plain

SHARED: dict[str, type[Settings]] = {
    "task": Learning,
    "partition": Learning,
    "seed": Learning,
    "width": Learning,
    "topology": Gossiping,
    "alpha": Gossiping,
    "rule": Gossiping,
    "submodel": Gossiping,
    "turns": Gossiping,
    "weigh": Gossiping,
    "finish": Gossiping,
    "private": Gossiping,
}
"""Settings that must be equal in all agents of a run, besides the number of shards and the model's hash."""

SUGGESTED: dict[str, type[Settings]] = {
    "optimizer": Learning,
    "learning_rate": Learning,
    "batch_size": Learning,
    "steps": Learning,
    "evaluate_every": Learning,
    "stop_when": Learning,
    "patience": Learning,
    "every": Gossiping,
    "codec": Gossiping,
    "choose": Gossiping,
    "settle": Gossiping,
    "network": Gossiping,
}
"""Settings that a joiner takes over unless they are given; they need not be equal."""

INSTEAD = {"steps": "epochs", "learning_rate": "optimizer"}
"""The first of each is not taken over where the second is given: epochs stand for steps, and a learning rate is that
of its optimizer."""

BY_DEFAULT = {"partition": "iid", "rule": PARAMETERS}
"""Settings that a task may bring of its own, and what they are where neither is given."""

OWN = "@"
"""Stands in the manifest between the name of such an own part and its hash."""

AgentSettings = tuple[Learning, Gossiping, Placing]


class ContradictionError(SettingsError):
    """A setting differs from the swarm's, where all agents share it. One line: which, both values, what to do."""

    code = "G102"


def task_name(task: str) -> str:
    """What a task is called among agents: a built-in's name, or a file's without its folder."""
    return task if task in BUILT_IN else Path(task).name


def shared(learning: Learning, gossiping: Gossiping, shard: Shard) -> dict[str, Plain]:
    """Of these settings, those that all agents of the run must have: the manifest's, apart from the model's hash.

    What the task brings of its own stands in `Prepared.own`.
    """
    found: dict[str, Plain] = {name: _plain(_group(name, learning, gossiping), name) for name in SHARED}
    found |= {name: default for name, default in BY_DEFAULT.items() if found[name] is None}
    boost = partial(boost_of, learning, gossiping, shard)
    every = steps_between(gossiping.every.steps, gossiping.codec)
    found["rule"] = with_values(str(found["rule"]), every, boost)
    return found | {"task": task_name(learning.task), "shards": shard.shards}


def boost_of(learning: Learning, gossiping: Gossiping, shard: Shard) -> float:
    """What the rule accelerated takes exchanges for where all shards have their agent. Raises UnknownRule."""
    from agents.boost import boost_on  # Where it is needed: it brings NumPy.
    from topology import overlay

    graph = overlay(gossiping.topology, shard.shards, learning.seed)
    return boost_on([graph], gossiping.alpha, gossiping.codec, gossiping.submodel)


def suggestions(learning: Learning, gossiping: Gossiping, steps: int) -> dict[str, Plain]:
    """Of these settings, those that a joiner takes over unless they are given. steps: to train in all."""
    values = {name: _plain(_group(name, learning, gossiping), name) for name in SUGGESTED}
    return {name: value for name, value in (values | {"steps": steps}).items() if value is not None}


def incomplete(learning: Learning, gossiping: Gossiping, placing: Placing) -> bool:
    """Whether a setting that all agents share isn't given, so that a joiner has to ask the swarm for it.

    Those that a task may bring of its own need not be: who gives all others, as a launch does, means the task's.
    """
    given = learning.given | gossiping.given | placing.given
    return not given >= {*SHARED, "shard", "run"} - BY_DEFAULT.keys()


def take_over(
    mine: AgentSettings, run: str, theirs: Mapping[str, Plain], suggested: Mapping[str, Plain]
) -> AgentSettings:
    """My settings, completed by what the swarm shares and suggests; what is in them counts as given from now on.

    run: the swarm's. theirs, suggested: of its manifest. Raises SettingsError where another value is given, naming
    the setting and both values; where the task is a file, which no peer can make us load; or where no shard is given.
    """
    learning, gossiping, placing = mine
    for name, kind in SHARED.items():
        _agree(name, _group(name, learning, gossiping), kind, theirs)
    task = learning.task if "task" in learning.given else _built_in(theirs)
    groups: dict[type[Settings], dict[str, Any]] = {Learning: {"task": task}, Gossiping: {}}
    given = _given(learning) | _given(gossiping)
    for name, kind in {**SHARED, **SUGGESTED}.items():
        source = theirs if name in SHARED else suggested
        if name == "codec" and not has_codec(source.get(name)):
            continue  # Of a later version: what both have is agreed for each exchange.
        if name == "choose" and source.get(name) not in CHOICES:
            continue  # Of a later version: each agent may choose by itself.
        if name in BY_DEFAULT and OWN in str(source.get(name)):
            continue  # Of their task's file: our copy has it too, or the handshake names both.
        if name in source and name not in given and name != "task" and INSTEAD.get(name) not in given:
            groups[kind][name] = _typed(kind, name, source[name])
    try:
        learning, gossiping = replace(learning, **groups[Learning]), replace(gossiping, **groups[Gossiping])
    except SettingsError as error:
        raise SettingsError(f"the swarm's settings can't be used here: {error}") from None
    return learning, gossiping, _placed(placing, run, theirs)


def _given(group: Settings) -> set[str]:
    """The names of what was given; None, for what the task sets, and a rule without a number are as if nothing was."""
    return {name for name in group.given if name not in BY_DEFAULT or not _left_open(name, getattr(group, name))}


def _left_open(name: str, value: str | None) -> bool:
    return value is None or (name == "rule" and leaves_open(value))


def _placed(placing: Placing, run: str, theirs: Mapping[str, Plain]) -> Placing:
    shards = theirs.get("shards")
    if not isinstance(shards, int) or shards < 1:
        raise SettingsError(f"the swarm cuts its data into {shards!r} shards: this agent can't be one of them")
    if "shard" not in placing.given and shards > 1:
        raise SettingsError(f"--shard: the swarm has {shards} shards: give one of them, such as --shard 1/{shards}")
    if placing.shard.shards != shards:
        raise ContradictionError(
            f"--shard {placing.shard}: {_differ('the number of shards', placing.shard.shards, shards)}"
        )
    if placing.run is not None and placing.run != run:
        raise ContradictionError(f"--run: {_differ('the run', placing.run, run)}")
    return replace(placing, run=run)


def _agree(name: str, group: Settings, kind: type[Settings], theirs: Mapping[str, Plain]) -> None:
    ours = _plain(group, name)
    if name not in group.given or ours is None or name not in theirs:
        return
    ours = task_name(str(ours)) if name == "task" else ours
    agree = same_rule(ours, str(theirs[name])) if name == "rule" else ours == theirs[name]
    if not agree:
        raise ContradictionError(f"--{name}: {_differ(name, ours, theirs[name])}")


def _differ(name: str, ours: object, theirs: object) -> str:
    return (
        f"{name} is {ours} here and {theirs!s:.60} in the swarm, and all agents share it: leave it out to take over "
        "the swarm's, or start a run of your own"
    )


def _built_in(theirs: Mapping[str, Plain]) -> str:
    task = str(theirs.get("task", ""))
    if task not in BUILT_IN:
        raise SettingsError(
            f"--task: the swarm's task is {task!r:.60}, which is no built-in one: give --task with your copy of the "
            "file; none is loaded because another agent names it"
        )
    return task


def _group(name: str, learning: Learning, gossiping: Gossiping) -> Settings:
    kind = SHARED.get(name) or SUGGESTED[name]
    return learning if kind is Learning else gossiping


def _plain(group: Settings, name: str) -> Any:
    (setting,) = (setting for setting in settings_of(type(group)) if setting.name == name)
    value = getattr(group, name)
    return None if value is None else ",".join(value) if setting.kind is tuple else setting.plain(value)


def _typed(kind: type[Settings], name: str, value: Plain) -> Any:
    """The inverse of `_plain`, as far as settings don't do it themselves."""
    (setting,) = (setting for setting in settings_of(kind) if setting.name == name)
    return (value,) if setting.kind is tuple else value

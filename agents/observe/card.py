"""The card of a consensus model: who is in it, how far they had trained, how far apart they were, how well it does."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agents.durable import hindrance, write_text
from agents.jsonable import jsonable
from agents.submodel import WHOLE
from agents.tensors import Parameters, Vector, named, opened, write_safetensors
from agents.values import SettingsError, Shard
from topology.errors import GossamerError
from transport.messages import Member

Metrics = dict[str, float]

CONSENSUS = "consensus.safetensors"
"""In an agent's folder: the consensus model that it ended with."""

KNOWN = {"run", "task", "agents", "distance"}
"""By which a card is known, whatever version has written it."""

SHOWN = 3
"""So many parameters are named in which agents are furthest apart."""

BEST = {"accuracy": max, "loss": min}
"""Which of several values is the best, where we know."""


class MismatchError(GossamerError, ValueError):
    """Vectors are of another model than the task we were given, or of different ones."""

    code = "G404"


@dataclass
class Consensus:
    """The card that goes with a consensus model. distance: sqrt(mean_i ||theta_i - mean||^2) of those who are in, NaN
    where nobody has measured it.

    missing: those who should be in and aren't; missing_data: the share of all shards that nobody who is in holds.
    metrics: of the merged model, metrics_of: of each agent; accuracy and loss among them stand apart as well. privacy:
    {"epsilon_spent", "delta"} of each agent that trained privately, which hold for every example of its own shard. own:
    parameters that stay with their agents.
    trained_by: which agents train what, where not all train everything. path: of the model's file; parameters: in it;
    model: hash of names, shapes and dtypes. submodel: how the model was divided; subnetworks: which of its parts each
    agent held, {} where all held the whole; capacities: of a nested model, the share of hidden units that each held.
    width: of the hidden layers, as a multiple of the task's own. merged_accuracy: of the mean of all; ensemble_accuracy
    of the sum of what all models give out, soup_accuracy: of the mean of those that do well together, soup: whose
    these are; None where they were not judged. how: which of them the file holds. layers: how far agents are apart in
    each parameter, as distance is in all.
    """

    run: str
    task: str
    agents: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    missing_data: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    distance: float = 0.0
    accuracy: float | None = None
    loss: float | None = None
    mean_accuracy: float | None = None
    best_accuracy: float | None = None
    metrics: Metrics = field(default_factory=dict)
    metrics_of: dict[str, Metrics] = field(default_factory=dict)
    privacy: dict[str, Metrics] = field(default_factory=dict)
    own: str = ""
    trained_by: dict[str, list[str]] = field(default_factory=dict)
    parameters: int = 0
    model: str = ""
    submodel: str = WHOLE
    subnetworks: dict[str, int] = field(default_factory=dict)
    capacities: dict[str, float] = field(default_factory=dict)
    width: float = 1.0
    merged_accuracy: float | None = None
    ensemble_accuracy: float | None = None
    soup_accuracy: float | None = None
    soup: list[str] = field(default_factory=list)
    how: str = "mean"
    layers: dict[str, float] = field(default_factory=dict)
    path: str = ""
    assembled: str = ""

    def summarize(self) -> None:
        """Set what stands apart from the metrics."""
        self.loss, self.accuracy = self.metrics.get("loss"), self.metrics.get("accuracy")
        self.merged_accuracy = self.accuracy
        accuracies = self._of_agents("accuracy")
        if accuracies:
            self.mean_accuracy, self.best_accuracy = sum(accuracies) / len(accuracies), max(accuracies)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it: a number that is not finite is null."""
        return dict(jsonable(asdict(self)))

    def lines(self) -> list[str]:
        """What a person should read: who is in, and a line for each metric, accuracy first."""
        missing = f", missing: {_listed(self.missing)}" if self.missing else ""
        missing += f" ({self.missing_data:.0%} of the shards)" if self.missing_data else ""
        lines = [f"{counted(len(self.agents))}{missing}; consensus distance {_number(self.distance):.4g}"]
        lines += [f"subnetwork {k} of {self.submodel}: {_listed(names)}" for k, names in self._subnetworks().items()]
        lines += [f"capacity {share:g}: {_listed(names)}" for share, names in self._capacities().items()]
        lines += [f"trained by {_listed(agents)}: {what}" for what, agents in self.trained_by.items()]
        if self.own:
            lines.append(f"left out, as they stay with their agents: {self.own}")
        for name in sorted(self.metrics, key=lambda name: name != "accuracy"):
            agents, of_agents = self._of_agents(name), ""
            if agents:
                of_agents = f"mean of agents {sum(agents) / len(agents):.4f}, "
                if name in BEST:
                    of_agents += f"best agent {BEST[name](agents):.4f}, "
                else:
                    of_agents += f"agents {min(agents):.4f} to {max(agents):.4f}, "
            others = self._others() if name == "accuracy" else ""
            lines.append(f"{name}: {of_agents}merged {_number(self.metrics[name]):.4f}{others}")
        if apart := sorted(self.layers.items(), key=lambda each: -each[1])[:SHOWN]:
            lines.append("furthest apart in " + ", ".join(f"{name} {distance:.3g}" for name, distance in apart))
        if self.privacy:
            spent = [f"{agent} {each['epsilon_spent']:.3g},{each['delta']:g}" for agent, each in self.privacy.items()]
            lines.append(f"epsilon,delta for each example of a shard: {_listed(spent)}")
        return lines

    def _others(self) -> str:
        """How well the ensemble and the soup do, where they were judged."""
        found = "" if self.ensemble_accuracy is None else f", ensemble {self.ensemble_accuracy:.4f}"
        if self.soup_accuracy is not None:
            found += f", soup of {counted(len(self.soup))} {self.soup_accuracy:.4f}"
        return found

    def _subnetworks(self) -> dict[int, list[str]]:
        """Who trained which."""
        parts = sorted(set(self.subnetworks.values()))
        return {k: sorted(name for name, part in self.subnetworks.items() if part == k) for k in parts}

    def _capacities(self) -> dict[float, list[str]]:
        """Who held how much of a nested model, the most first."""
        shares = sorted(set(self.capacities.values()), reverse=True)
        return {share: sorted(name for name, own in self.capacities.items() if own == share) for share in shares}

    def _of_agents(self, name: str) -> list[float]:
        return [_number(metrics[name]) for metrics in self.metrics_of.values() if name in metrics]


def write_model(out: Path, theta: Vector, parameters: Parameters, card: Consensus, **facts: Any) -> None:
    """The parameters by name; in the file's metadata their order in theta, and the card as far as it goes.

    facts: of the agent whose vector it is, as in its checkpoints, so that the file can stand in for one.
    """
    arrays, order = named(theta, parameters)
    metadata = {"gossamer": json.dumps(card.plain() | facts), "parameters": json.dumps(order)}
    write_safetensors(out, arrays, metadata)
    write_card(out, card)


def write_card(out: Path, card: Consensus) -> None:
    """The card, as JSON beside the model's file."""
    write_text(card_of(out), json.dumps(card.plain(), indent=2, allow_nan=False) + "\n")


def card_of(out: Path) -> Path:
    """Where the card of the model in this file is: model.json of model.safetensors, model.v1.json of model.v1."""
    return out.with_suffix(".json") if out.suffix == ".safetensors" else out.with_name(f"{out.name}.json")


def check_out(out: Path) -> None:
    """Raise SettingsError unless a consensus model and its card can be written there, in place of such ones alone."""
    if out.suffix == ".json":
        raise SettingsError(f"--out is the safetensors file, beside which its card is written as .json: got {out}")
    if out.is_dir():
        raise SettingsError(f"--out is a file for the model, such as {out / CONSENSUS}: got {out}, which is a folder")
    if why := hindrance(out.parent):
        raise SettingsError(f"--out {out}: {why}; give another file")
    for file, read, what in ((out, _read_model, "consensus model"), (card_of(out), _read_card, "card of one")):
        try:
            found = read(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, LookupError):
            found = None
        if not isinstance(found, dict) or not found.keys() >= KNOWN:
            raise SettingsError(f"--out {out}: {file} is there and no {what}: give another file, or remove that one")


def _read_card(file: Path) -> Any:
    return json.loads(file.read_bytes())


def _read_model(file: Path) -> Any:
    if not file.exists():
        raise FileNotFoundError(file)
    with opened(file) as model:
        return json.loads(model.metadata["gossamer"])


def share_missing(shards: Iterable[Shard]) -> float:
    """The share of all shards that are not among these: the data of which a model of their agents has seen nothing."""
    there = list(shards)
    count = max((shard.shards for shard in there), default=1)
    return 1 - len({shard.index for shard in there if shard.shards == count}) / count


def privacy_of(members: Iterable[Member]) -> dict[str, Metrics]:
    """What is spent of the privacy budgets of those members that have one, as in their records."""
    reports = {member.agent: member.report for member in members}
    return {
        agent: {"epsilon_spent": report.epsilon, "delta": report.delta}
        for agent, report in sorted(reports.items())
        if report.delta
    }


def counted(agents: int) -> str:
    """As a person says it: 1 agent, 2 agents."""
    return f"{agents} agent" if agents == 1 else f"{agents} agents"


def _number(value: float | None) -> float:
    """A metric as it was, also of a card that was read from JSON."""
    return math.nan if value is None else value


def _listed(names: list[str], most: int = 10) -> str:
    shown = ", ".join(name[:80] for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"

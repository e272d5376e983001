"""The settings of an agent: frozen dataclasses, one a concern, with units and defaults, checked at construction.

Flags, environment and TOML all fill these classes. A constructor takes a value as it is or as TOML holds it ("10steps"
for `Every(steps=10)`); the field always holds the typed value. Any other value raises SettingsError.
"""

from dataclasses import dataclass, field
from pathlib import Path

from agents.checks import (
    at_least,
    check_addresses,
    check_alpha,
    check_choose,
    check_codec,
    check_dp_clip,
    check_finish,
    check_log,
    check_mask,
    check_network,
    check_overlap,
    check_partition,
    check_record,
    check_rule_and_weights,
    check_secrets,
    check_seed,
    check_sinks,
    check_stopping,
    check_topology,
    one_of,
    positive,
)
from agents.fields import Settings
from agents.mixing.blocks import patterns
from agents.submodel import WHOLE
from agents.submodel import parse as parse_submodel
from agents.values import Budget, Capacity, Clip, Condition, Every, SettingsError, Shard
from topology.choices import UNIFORM

CLIP = 7.0
"""How far one exchange may move an agent by default; why so far stands in docs/measurements.md."""


@dataclass(frozen=True, kw_only=True)
class Learning(Settings):
    """What is learned, from which data.

    Parameters:
        task: A built-in task (digits, fashion-mnist, idx, npz), which a joiner may take over, or a file with
            `task = Task(...)`.
        data: Where the task's data lies, if not where it looks by itself.
        partition: How the data is cut into shards: iid, dirichlet:0.1, labels:2 or sizes:1.5; by default as the task
            file's own `partition` says, else iid.
        optimizer: One of optax by name, in place of the task's own.
        learning_rate: For --optimizer, or in place of the task's own.
        batch_size: Samples in a local step, in place of the task's own.
        width: Hidden widths of the task's model times this: 8 for a model eight times as wide.
        steps: Local steps to train; the task's default is 20 epochs.
        epochs: Passes over the shard to train, in place of --steps.
        seed: Seed of the first model, the shards, the batches and the choice of neighbors: the same for all agents.
        evaluate_every: How often, while it trains, an agent judges its own model on the task's validation or test data:
            200steps or 30s, at the boundary that follows; not at all unless it is given.
        stop_when: When an agent votes to stop: "accuracy>0.95", a metric of the task, <, >, <= or >=, and a number. The
            swarm stops once more than half of its agents have voted so.
        patience: Evaluations without a better score after which an agent votes to stop as well.
        dp: Differential privacy for every example of the shard: EPSILON,DELTA, such as 3,1e-5. Training stops when they
            are spent. Each agent's own choice.
        dp_clip: With --dp, the norm to which each example's gradient is clipped.
    """

    task: str = ""
    data: str | None = None
    partition: str | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    width: float = 1.0
    steps: int | None = None
    epochs: float | None = None
    seed: int = 0
    evaluate_every: Every | None = None
    stop_when: Condition | None = None
    patience: int | None = None
    dp: Budget | None = None
    dp_clip: float = 1.0

    def _check(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise SettingsError("--steps and --epochs both set how long to train: give one of them")
        at_least("--steps", self.steps, 0)
        at_least("--batch-size", self.batch_size, 1)
        positive("--epochs", self.epochs)
        positive("--learning-rate", self.learning_rate)
        positive("--width", self.width)
        check_dp_clip(self.dp, self.dp_clip, Learning.dp_clip)
        check_seed(self.seed)
        check_partition(self.partition)
        check_stopping(self.stop_when, self.patience, self.evaluate_every)


@dataclass(frozen=True, kw_only=True)
class Gossiping(Settings):
    """How agents mix.

    Parameters:
        topology: Who may exchange with whom: ring, torus, exponential, base:2, regular:4, complete ...
        alpha: How much of itself an agent keeps in an exchange, in [0, 1]; 0.5 makes both equal.
        choose: Which neighbor an agent turns to: uniform, each equally likely; roundrobin, one after the other; or
            fastest, the likelier, the less time exchanges with it took. Each agent's own choice.
        codec: How differences are written: float32, bfloat16, or lattice:2 to lattice:8 with so many bits a coordinate;
            segments:1/5 for a fifth of a chunk at a time; lowrank:4 for four directions of each matrix; or two, as in
            lattice:4+segments:1/5, or lowrank:4+lattice:4/5, whose every fifth exchange is in lattice:4; or auto,
            with fewer bits where exchanges take longer than the local steps between them.
        rule: How exchanges meet the optimizer: parameters, which averages these alone, or one or more of drift, quasi,
            noloco, prox, ema, accelerated, momentum and tracking, such as drift:0.1+prox:0.01; by default the task's
            own, else parameters.
        every: How often an agent begins an exchange: 10steps, or 0.5s to never wait for an answer.
        overlap: Whether an agent trains on while its exchange is under way, and applies it later: yes; no, where it
            waits, and learns a little more from each; or auto: no in `agent launch`, whose agents share one machine,
            and with the rule drift, which needs an exchange at each boundary, and yes elsewhere.
        submodel: Which part of the model an agent trains, by its shard: "none", the whole of it; width:K, one of K
            independent subnetworks, each with a Kth of the hidden units; layers:K, one of K blocks of the model's
            layers, where it takes the others over from who trains them; or nested, as much as --capacity says.
        turns: Local steps after which all but K agents go to the next subnetwork of --submodel width:K; 0 for never.
        capacity: With --submodel nested, the share of the hidden units that an agent holds, from the first on: 1, 0.5,
            0.25, 0.125 or 0.0625. Each agent's own; `agent launch` takes one for each, as in 1,0.5,0.5,1.
        private: Parameters that stay with their agent, which trains its own: patterns of names such as "output/*";
            more than one may be given, or several with commas between. The same for all agents.
        weigh: How much an agent counts in exchanges and in the consensus: by the "samples" of its shard; by "speed",
            less than these the slower it trains; or "equal".
        settle: Seconds that those who still train are given once half have finished; then all finish where they are.
        finish: How agents end once all have trained: "exact", all with the mean of all, or by "gossip", all near it.
        linger: Grace period in seconds: how long to stay for `agent consensus` once everyone has finished.
        stay: Seconds to stay beyond that grace period at most, until the consensus was taken.
        mask: Standard deviation of noise on what others see of our parameters; the mean stays. Each agent's own.
        clip: How far one exchange may move an agent: so many times as far as training does between two, or "off".
        network: What lies between the agents: local (one machine), lan, or wan, where the silent count as gone later.
        silent: Seconds after which a member that answers nobody counts as gone, by default 3.75 (local), 5 (lan)
            or 37.5 (wan); a third of it where others confirm it.
    """

    topology: str = "ring"
    alpha: float = 0.5
    choose: str = UNIFORM
    codec: str = "float32"
    rule: str | None = None
    every: Every = Every(steps=10)
    overlap: str = "auto"
    submodel: str = WHOLE
    turns: int = 0
    capacity: Capacity = Capacity()
    private: tuple[str, ...] = ()
    weigh: str = "samples"
    settle: float = 60.0
    finish: str = "exact"
    linger: float = 10.0
    stay: float = 0.0
    mask: float = 0.0
    clip: Clip = Clip(CLIP)
    network: str = "lan"
    silent: float | None = None

    def _check(self) -> None:
        check_alpha(self.alpha)
        check_codec(self.codec)
        check_rule_and_weights(self.rule, self.codec, self.weigh)
        parse_submodel(self.submodel)
        object.__setattr__(self, "private", patterns(self.private))
        check_network(self.network, self.silent)
        check_mask(self.mask)
        check_finish(self.finish)
        check_overlap(self.overlap)
        for name in ("turns", "settle", "linger", "stay"):
            at_least(f"--{name}", getattr(self, name), 0)
        if self.topology != Gossiping.topology:
            check_topology(self.topology)
        check_choose(self.choose, self.topology)


@dataclass(frozen=True, kw_only=True)
class Placing(Settings):
    """Where an agent stands.

    Parameters:
        listen: Where to listen, such as tcp://0.0.0.0:5710; port 0 for any free one; "none" behind NAT. Without keys, a
            secret or --insecure it is this machine alone.
        advertise: The address to publish to others, if they can't reach this machine by the one it sees itself.
        join: The address of any agent of the swarm, as it prints it; more than one may be given.
        shard: Which shard is ours, of how many, counted from 0: 2/8.
        name: This agent's name in the swarm; made from the host's by default.
        run: The name of the run; agents of different runs don't mix. Whoever joins takes it over.
        wait_for: Begin to train when so many agents are here, this one counted, or when another trains: give it to all.
        wait_limit: Seconds to wait for them at most.
        wait_else: What then: "fail" with an error, or "train" with those who are here.
        stop_after: Seconds to train at most.
        run_dir: The folder for config, metrics and checkpoint. If it holds a checkpoint, training resumes there.
        checkpoint_every: Seconds between two checkpoints while training.
        keep_checkpoints: How many to keep; a damaged one is passed over for the one before.
        record: Record what is done to our vector, so that the run can be replayed.
        record_mb: Megabytes that this recording may take; beyond them training goes on unrecorded.
        evaluate: Judge our own model on the task's test data at the end.
        track: Give metrics to a tracker, in the run's folder: tensorboard, wandb, mlflow or trackio, or to several.
        prometheus: Serve metrics for Prometheus at this PORT of this machine alone, or at HOST:PORT; port 0 for any.
        log: How log lines look: text, or json for programs, one object a line.
    """

    listen: str = "tcp://127.0.0.1:0"
    advertise: str | None = None
    join: tuple[str, ...] = ()
    shard: Shard = Shard(0, 1)
    name: str | None = None
    run: str | None = None
    wait_for: int = 1
    wait_limit: float = 600.0
    wait_else: str = "fail"
    stop_after: float | None = field(default=None, metadata={"key": "for"})
    run_dir: Path | None = None
    checkpoint_every: float = 30.0
    keep_checkpoints: int = 3
    record: bool = True
    record_mb: float = 256.0
    evaluate: bool = True
    track: tuple[str, ...] = ()
    prometheus: str | None = None
    log: str = "text"

    def _check(self) -> None:
        check_log(self.log)
        object.__setattr__(self, "track", tuple(filter(None, self.track)))  # None of them is written as "".
        check_sinks(self.track, self.prometheus)
        if self.listen not in ("none", Placing.listen):
            check_addresses("--listen", [self.listen], 'tcp://0.0.0.0:5710, with port 0 for any free one, or "none"')
        if self.advertise is not None:
            check_addresses("--advertise", [self.advertise])
        check_addresses("--join", self.join)
        at_least("--wait-for", self.wait_for, 1)
        at_least("--wait-limit", self.wait_limit, 0)
        one_of("--wait-else", self.wait_else, "fail", "train")
        if self.stop_after is not None and not self.stop_after > 0:
            raise SettingsError(f"--for must be positive: got {self.stop_after}")
        if not self.checkpoint_every > 0:
            raise SettingsError(f"--checkpoint-every must be positive: got {self.checkpoint_every}")
        at_least("--keep-checkpoints", self.keep_checkpoints, 1)
        check_record(self.record_mb)
        if self.listen == "none" and not self.join:
            raise SettingsError("--listen none is for agents that call others: give --join tcp://HOST:PORT too")


@dataclass(frozen=True, kw_only=True)
class Securing(Settings):
    """Who may take part, and whether what is sent can be read on the way.

    Parameters:
        key: The file with our secret key, made by `agent keygen`.
        trust: The file with the public keys of all who may take part, made by `agent trust add`.
        secret: A secret file that all agents have, instead of keys: it keeps outsiders out, and tells no members apart.
        insecure: Talk with other machines in plaintext, and with whoever comes.
    """

    key: Path | None = None
    trust: Path | None = None
    secret: Path | None = None
    insecure: bool = False

    @property
    def encrypts(self) -> bool:
        """Whether messages are encrypted, and who sends them has proved who it is."""
        return self.key is not None or self.secret is not None

    def _check(self) -> None:
        check_secrets(self.key, self.trust, self.secret, self.insecure)


PLAIN = Securing()
"""Plaintext, which stays on this machine."""


@dataclass(frozen=True, kw_only=True)
class Launching(Settings):
    """What `agent launch` starts on one machine.

    Parameters:
        agents: How many agents.
        run_dir: The folder for everything that this run leaves; runs/TASK-TIME by default.
        track: Give agents' metrics to trackers, in their folders: tensorboard, wandb, mlflow, trackio, or several.
        prometheus: As in `agent run`, for the first agent; the others serve theirs on the ports that follow.
        log: How log lines look, those of the agents too: text, or json for programs, one object a line.
    """

    agents: int
    run_dir: Path | None = None
    track: tuple[str, ...] = ()
    prometheus: str | None = None
    log: str = "text"

    def _check(self) -> None:
        check_log(self.log)
        object.__setattr__(self, "track", tuple(filter(None, self.track)))  # None of them is written as "".
        at_least("--agents", self.agents, 1)
        check_sinks(self.track, self.prometheus, self.agents)

"""Checks of settings: of one that several classes share, or that `agents.Peer` takes as well."""

import math
from collections.abc import Iterable, Sequence
from operator import index
from pathlib import Path
from typing import TypeVar

from agents.learning.rule_names import UnknownRule, check_with, parse_rule
from agents.learning.tasks import task_file
from agents.mixing.bounds import MAX_WEIGHT
from agents.mixing.codec_names import UnknownCodec, choices
from agents.protocol.timing import TIMINGS
from agents.protocol.weighing import BY_SPEED
from agents.sinks.names import TRACKERS, place, unknown
from agents.sinks.sink import SinkError
from agents.values import Budget, Clip, Condition, Every, SettingsError
from topology.choices import need_choice
from topology.errors import TopologyError, as_number, need_alpha

Written = TypeVar("Written", Clip, Every)

PORTS = 1 << 16
"""Of a machine, the first of which is none: it stands for any."""


def check_network(network: str, silent: float | None) -> None:
    """Raises SettingsError unless there is such a network, and records come twice at least in so many seconds."""
    if network not in tuple(TIMINGS):
        raise SettingsError(f"--network is {', '.join(TIMINGS)}: got {network!r}")
    least = 2 * TIMINGS[network].ping_s
    if silent is not None and not least < as_number(silent) < math.inf:
        raise SettingsError(
            f"--silent must exceed {least:g} seconds, in which records are spread twice with --network {network}: "
            f"got {silent}"
        )


def check_log(log: str) -> None:
    """Raise SettingsError unless log lines may look so."""
    if log not in ("text", "json"):
        raise SettingsError(f"--log is text or json: got {log!r}; how much is logged is AGENT_LOG_LEVEL=debug")


def positive(name: str, value: float | None) -> None:
    """Raise SettingsError unless it is None, or positive and finite. name: the flag's."""
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"{name} must be positive and finite: got {value}")


def at_least(name: str, value: float | None, least: int) -> None:
    """Raise SettingsError unless it is None or so much. name: the flag's."""
    if value is not None and not value >= least:
        raise SettingsError(f"{name} must be at least {least}: got {value}")


def one_of(name: str, value: str, *allowed: str) -> None:
    """Raise SettingsError unless it is one of these. name: the flag's."""
    if value not in allowed:
        raise SettingsError(f"{name} is {' or '.join(allowed)}: got {value!r}")


def check_alpha(alpha: float) -> None:
    """Raises SettingsError unless alpha is how much of itself an agent keeps in an exchange."""
    try:
        need_alpha(alpha)
    except TopologyError as error:
        raise SettingsError(f"--{error}") from None


def check_codec(codec: str) -> None:
    """Raises SettingsError unless a codec has this name."""
    try:
        choices(codec)
    except UnknownCodec as error:
        raise SettingsError(f"--{error}") from None


def check_choose(choose: str, topology: str = "") -> None:
    """Raise SettingsError unless neighbors can be chosen so in this topology; "" for none of its own rounds."""
    try:
        need_choice(choose, topology)
    except TopologyError as error:
        raise SettingsError(f"--choose: {error}") from None


def check_rule_and_weights(rule: str | None, codec: str, weigh: str) -> None:
    """Raises SettingsError unless agents can weigh so, and a rule has this name, or none, and goes with the others."""
    one_of("--weigh", weigh, "equal", "samples", BY_SPEED)
    if rule is None:
        return
    try:
        parse_rule(rule)
        check_with(rule, codec, weigh == BY_SPEED)
    except UnknownRule as error:
        raise SettingsError(f"--{error}") from None


def check_text(name: str, text: str) -> None:
    """Raises SettingsError unless it is text that can be shown in a line. name: the flag's."""
    if not isinstance(text, str) or not text.isprintable():
        flag = "--" + name.replace("_", "-")
        raise SettingsError(f"{flag} must consist of printable characters: got {text!r}")


def check_texts(**texts: str | None) -> None:
    """As `check_text`, for those that aren't None, by their flags' names."""
    for name, text in texts.items():
        if text is not None:
            check_text(name, text)


def texts(name: str, given: str | Iterable[str]) -> tuple[str, ...]:
    """One text, or several, as a tuple. name: the flag's. Raises SettingsError for anything else."""
    found = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if not all(isinstance(text, str) for text in found):
        raise SettingsError(f"{name} is a text, or several in a list: got {given!r:.60}")
    return found


def check_weight(weight: float) -> None:
    """Raises SettingsError unless a model can weigh so much that peers exchange with it."""
    if not 0 < as_number(weight) <= MAX_WEIGHT:
        raise SettingsError(f"a model's weight must be above 0 and at most {MAX_WEIGHT:g}: got {weight!r}")


def check_seed(seed: int) -> None:
    """Raises SettingsError unless the seed can travel in a message."""
    try:
        fits = -(2**63) < index(seed) < 2**63
    except TypeError:
        fits = False
    if not fits:
        raise SettingsError(f"--seed must be a whole number of 64 bits: got {seed!r}")


def check_mask(mask: float) -> None:
    """Raise SettingsError unless noise can have this scale."""
    if not 0 <= as_number(mask) < math.inf:
        raise SettingsError(f"--mask is the scale of the noise, such as 0.01, and 0 for none: got {mask!r}")


def check_finish(finish: str) -> None:
    """Raise SettingsError unless there is such a finish."""
    if finish not in ("exact", "gossip"):
        raise SettingsError(f"--finish is exact or gossip: got {finish!r}")


def check_overlap(overlap: str) -> None:
    """Raise SettingsError unless this is a value of --overlap."""
    if overlap not in ("auto", "yes", "no"):
        raise SettingsError(f"--overlap is auto, yes or no: got {overlap!r}")


def parsed(name: str, kind: type[Written], given: object) -> Written:
    """What a value, or its text, means as a setting of this name. Raises SettingsError."""
    if isinstance(given, kind):
        return given
    try:
        return kind.parse(str(given))
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def check_addresses(name: str, addresses: Sequence[str], example: str = "tcp://192.168.1.7:5710") -> None:
    """Raises SettingsError if one is no tcp://HOST:PORT."""
    from transport.addresses import AddressError, split  # Late, as NumPy comes with it.

    for address in addresses:
        try:
            split(address)
        except AddressError as error:
            raise SettingsError(f"{name}: {error}; {_likely(address) or f'give one such as {example}'}") from None


def _likely(address: str) -> str:
    """A question whether HOST:PORT was meant to have the scheme that it lacks; "" if it would be no address either."""
    from transport.addresses import AddressError, split

    try:
        split(f"tcp://{address}")
    except AddressError:
        return ""
    return f"did you mean tcp://{address}?"


def check_task(name: str) -> None:
    """Raises TaskError unless this is a built-in task or a file that is there."""
    task_file(name)


def check_topology(name: str) -> None:
    """Raises SettingsError unless topologies by this name can be laid over agents."""
    from topology import overlay  # Late: with SciPy `--help` would take three times as long.

    if not isinstance(name, str):
        raise SettingsError(f"--topology is a name, such as ring: got {type(name).__name__}")
    try:
        overlay(name, 1)
    except TopologyError as error:
        raise SettingsError(f"--topology: {error}") from None


def check_partition(text: str | None) -> None:
    """Raises SettingsError if data can't be cut into shards so; None is as the task says."""
    if text is None:
        return
    from agents.learning.data import DataError, parse_partition  # Late, as NumPy and JAX come with it.

    try:
        parse_partition(text)
    except DataError as error:
        raise SettingsError(f"--partition: {error}") from None


def check_dp_clip(dp: Budget | None, dp_clip: float, default: float) -> None:
    """Raise SettingsError unless gradients can be clipped to this norm, and are clipped if another than the default."""
    positive("--dp-clip", dp_clip)
    if dp is None and dp_clip != default:
        raise SettingsError(f"--dp-clip {dp_clip:g} is the norm of private training: give --dp EPSILON,DELTA too")


def check_stopping(condition: Condition | None, within: int | None, evaluate_every: Every | None) -> None:
    """Raise SettingsError where training is to stop by scores that nobody takes, or after none."""
    at_least("--patience", within, 1)
    if evaluate_every is None and (condition is not None or within is not None):
        given = f"--stop-when {condition}" if condition is not None else f"--patience {within}"
        raise SettingsError(f"{given} goes by the scores of evaluations: give --evaluate-every too, such as 200steps")


def check_record(megabytes: float) -> None:
    """Raise SettingsError unless a recording may be so large."""
    if not 0 < megabytes < math.inf:
        raise SettingsError(f"--record-mb must be positive, and finite: got {megabytes}; --no-record records nothing")


def check_secrets(key: Path | None, trust: Path | None, secret: Path | None, insecure: bool) -> None:
    """Raise SettingsError unless these say in one way alone who may take part."""
    if key is not None and secret is not None:
        raise SettingsError("--key and --secret both say who we are: give one of them, the same kind on all machines")
    if trust is not None and key is None:
        raise SettingsError("--trust lists whose keys are trusted: give --key FILE with our own too")
    if insecure and (key is not None or secret is not None):
        raise SettingsError("--insecure is for plaintext: leave it out where --key or --secret is given")


def check_sinks(trackers: Sequence[str], prometheus: str | None, agents: int = 1) -> None:
    """Raise SettingsError unless metrics of so many agents can be sent there, each at a port of its own.

    Whether packages and ports are there is seen later.
    """
    if name := unknown(trackers):
        raise SettingsError(f"--track is {', '.join(TRACKERS)}: got {name!r}")
    if prometheus is not None:
        try:
            port = place(prometheus)[1]
        except SinkError as error:
            raise SettingsError(str(error)) from None
        if port and port + agents > PORTS:
            raise SettingsError(
                f"--prometheus {prometheus} is for the first of {agents} agents, whose ports follow one another: give "
                f"{PORTS - agents} or less, or 0 for any"
            )

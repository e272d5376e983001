"""Models that agents divide, in a simulation: what that goes with, and whom agents meet that hold unlike much."""

from collections.abc import Sequence
from typing import Any

from agents.mixing.capacities import steps_down
from agents.submodel import block_count, check_capacities, check_shards, check_somebody_holds_all
from agents.values import SettingsError, capacity_of
from sim.checks import SimulationError, shown
from sim.sources.block_rounds import with_level_rounds
from topology import Schedule


def check_divided(submodel: str, capacity: Any, agents: int, private: Sequence[str], codec: str) -> str:
    """The capacities as text. Raises SimulationError unless so many agents can divide a model so."""
    try:
        check_shards(submodel, agents)
        found = capacity_of(capacity)
        each = found.of(agents) if len(found.shares) > 1 else found.shares
        check_capacities(submodel, each, private, codec)
        check_somebody_holds_all(each)
    except SettingsError as error:
        raise SimulationError(str(error).removeprefix("--")) from None
    return str(found)


def check_blocks(submodel: str, protocol: str, virtual: bool) -> None:
    """Raises SimulationError unless a run of blocks of layers, if these are some, can be simulated with these."""
    if block_count(submodel) > 1 and (protocol != "exchange" or virtual):
        raise SimulationError(
            f"submodel {submodel!r} is for protocol 'exchange', which has two rates for two weights, and not "
            f"for virtual agents: got protocol {protocol!r}, virtual={virtual}"
        )


def check_simulated(protocol: str, codec: str, joins: Any, virtual: bool) -> None:
    """Raises SimulationError unless a run of nested slices can be simulated with these."""
    if (protocol, codec) != ("exchange", "float32") or joins or virtual:
        raise SimulationError(
            "submodel 'nested' is simulated with protocol 'exchange', codec 'float32', no joins and no virtual: got "
            f"protocol {protocol!r}, codec {codec!r}, joins={shown(joins)}, virtual={virtual}"
        )


def met_by(topology: str, capacities: Sequence[float], seed: int) -> Schedule:
    """The topology of agents of these capacities."""
    return with_level_rounds(topology, [-(steps_down(capacity) or 0) for capacity in capacities], seed)

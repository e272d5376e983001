"""What the gossip core and its exchanges must know, as plain values checked at construction."""

from dataclasses import dataclass

from agents.manifest import Manifest
from agents.mixing.bounds import MAX_WEIGHT
from agents.mixing.capacities import NESTED
from agents.mixing.codec_names import UnknownCodec, parse_codec
from agents.mixing.exchange import EXACT
from agents.mixing.layout import THETA
from agents.protocol.limits import MAX_DIALED
from agents.protocol.timing import LAN
from agents.protocol.weighing import BY_SPEED
from agents.submodel import WHOLE
from topology import need_choice, overlay
from topology.choices import UNIFORM
from topology.errors import GossamerError, need_alpha
from transport.messages import Offer


class TimesError(GossamerError, ValueError):
    """Periods and timeouts that don't fit each other."""

    code = "G106"


@dataclass(frozen=True)
class ExchangeSettings:
    """The settings of an agent's exchanges.

    alpha, codec: of the exchanges we begin. weight: ours in every exchange. chunks: of what is exchanged. max_weight:
    the most that a peer may weigh.
    first_s, floor_s: how long training waits for an answer at first, and at least, once answers have been timed.
    """

    alpha: float
    weight: float
    chunks: int
    codec: str
    first_s: float
    floor_s: float
    max_weight: float = MAX_WEIGHT

    def takes(self, weight: float) -> bool:
        """Whether a peer may weigh so much: no weight that it declares makes it the whole mean."""
        return 0 < weight <= self.max_weight

    def objection(self, offer: Offer, most: int | None = None, fewer: bool = False, vector: str = THETA) -> str:
        """Why this offer can't be answered, whoever makes it; "" if it can.

        most: how many chunks we have in common with who makes it, if not all. fewer: whether it may end before these.
        vector: the name of ours.
        """
        most = self.chunks if most is None else most
        if offer.vector != vector:
            return f"there is no vector {offer.vector[:64]!r} here"
        if offer.finish and offer.codec != EXACT:
            return f"the finish is in {EXACT}: got {offer.codec[:64]!r}"
        try:
            parse_codec(offer.codec)
        except UnknownCodec as error:
            return str(error)
        fits = offer.chunks <= most if fewer else offer.chunks == most
        if not fits or not 0 <= offer.chunk < offer.chunks or offer.acked < 0:
            return f"chunk {offer.chunk} of {offer.chunks}: our vector has {most}"
        if not 0 <= offer.alpha <= 1 or not self.takes(offer.weight):
            return f"alpha {offer.alpha} must be in [0, 1], weight {offer.weight} in (0, {self.max_weight:g}]"
        return ""


@dataclass(frozen=True)
class CoreSettings:
    """The settings of the gossip core. Times in seconds.

    run: the run's name, "" to take over that of whoever welcomes us. topology, seed, choose: neighbors are chosen by
    them.
    alpha: how much of itself an agent keeps in an exchange, in [0, 1]. parameters: length of theta; chunks: into how
    many it is cut; blocks: that of each, () where all agents train everything. manifest: what all agents of the run
    share. join: through whom we meet the swarm. remembered: addresses of others that an earlier start of ours knew,
    which are tried too. listening: whether we can be called. tick_s: how often Tick comes; the others are those of a
    `Timing`. dialed: how many connections may be open that we opened. of_theta: how many of the chunks are theta's,
    which alone is pulled; 0 for all.
    """

    run: str
    topology: str
    seed: int
    alpha: float
    parameters: int
    chunks: int
    manifest: Manifest = Manifest()  # noqa: RUF009 - frozen
    codec: str = "float32"
    choose: str = UNIFORM
    blocks: tuple[int, ...] = ()
    join: tuple[str, ...] = ()
    remembered: tuple[str, ...] = ()
    listening: bool = True
    tick_s: float = 0.05
    ping_s: float = LAN.ping_s
    silent_s: float = LAN.silent_s
    first_s: float = LAN.first_s
    floor_s: float = LAN.floor_s
    dialed: int = MAX_DIALED
    of_theta: int = 0

    def __post_init__(self) -> None:
        need_alpha(self.alpha)
        if not self.tick_s < self.ping_s < self.silent_s:
            raise TimesError(
                "tick_s < ping_s < silent_s must hold: "
                f"got tick_s {self.tick_s}, ping_s {self.ping_s}, silent_s {self.silent_s}"
            )
        overlay(self.topology, 1, self.seed)
        need_choice(self.choose, self.topology)

    @property
    def served(self) -> int:
        """How many chunks others pull."""
        return self.of_theta or self.chunks

    @property
    def nested(self) -> bool:
        """Whether agents hold nested slices of the model, and `blocks` are their levels."""
        return self.submodel == NESTED

    @property
    def submodel(self) -> str:
        """How the model is divided among the agents of the run."""
        return str(self.manifest.settings.get("submodel", WHOLE))

    @property
    def by_speed(self) -> bool:
        """Whether agents weigh less, the slower they train."""
        return self.manifest.settings.get("weigh") == BY_SPEED

    def of_exchanges(self, weight: float) -> ExchangeSettings:
        """What the exchanges of an agent of this weight must know."""
        equal = self.manifest.settings.get("weigh") == "equal"
        most = max(1.0, weight) if equal else MAX_WEIGHT
        return ExchangeSettings(self.alpha, weight, self.chunks, self.codec, self.first_s, self.floor_s, most)

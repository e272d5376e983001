"""How membership and waiting are timed on networks of one machine, of one site and of several: LOCAL, LAN, WAN.

They stand to each other as those of memberlist do (hashicorp/memberlist, config.go): suspicions of 3, 4 and 6 times the
interval between probes, which is five times as long in a WAN, where an answer may take six times as long.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Times in seconds.

    ping_s: between two probes; a direct answer may take 0.6 of it, one through others 1.6 (`probing`).
    silent_s: how long a suspicion lasts that nobody shares; a third of it where three others do.
    first_s, floor_s: how long training waits for an answer at first, and at least, once answers have been timed.
    """

    ping_s: float
    silent_s: float
    first_s: float
    floor_s: float


LOCAL = Timing(ping_s=0.5, silent_s=3.75, first_s=3.0, floor_s=1.0)
LAN = Timing(ping_s=0.5, silent_s=5.0, first_s=3.0, floor_s=1.0)
WAN = Timing(ping_s=2.5, silent_s=37.5, first_s=18.0, floor_s=6.0)

TIMINGS = {"local": LOCAL, "lan": LAN, "wan": WAN}
"""By the name of the network."""

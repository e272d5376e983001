"""One run of the eight sites of `make hospitals`, undisturbed or by the script of what befalls them."""

import json
import signal
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from hospital_network import Net
from hospital_site import EAST, KILLED, LIAR, SITES, SLOW, WEST, Site, last_line, longest_pause_s

from transport.keys import new_key, write_key
from transport.trust import Trusted, add

HERE = Path(__file__).parent
STEP_S, SLOWER = 0.05, 20
CUT_S, KILL_S, LIE_S = (8.0, 68.0), (16.0, 26.0), 34.0
"""Since training began: the outage, from and to; the crash, and the restart; the first lie."""

PARTITION, TOPOLOGY, EVERY, WEIGH = "iid", "exponential", 5, "speed"
"""The sites see alike cases: what only a site knew that is lost, no method learns without it. So the slow one may weigh
less than the others: its cases are theirs."""

FAULTS = ("outage", "slow", "crash", "liar")

DEADLINE_S = 300.0
LOOK_S = 0.1


class Lost(RuntimeError):
    """The run can't be brought to an end. One line: at which site, and its last words."""


class Run:
    """One run of the eight. faults: of FAULTS, what befalls them. say: shows a line."""

    def __init__(
        self,
        folder: Path,
        net: Net,
        steps: int,
        seed: int,
        say: Callable[[str], None],
        faults: Collection[str] = (),
        partition: str = PARTITION,
    ) -> None:
        self.partition = partition
        self.folder, self.net, self.steps, self.seed, self.say, self.faults = folder, net, steps, seed, say, faults
        (folder / "keys").mkdir(parents=True)
        self.trust = folder / "keys" / "trusted"
        self.keys = {name: folder / "keys" / f"{name}.key" for name in SITES}
        self.public = {}
        for name, path in self.keys.items():  # As `agent keygen` and `agent trust add` do.
            key = new_key()
            write_key(path, key)
            add(self.trust, Trusted(key.public, name))
            self.public[name] = key.public
        self.sites = {name: Site(name, folder / name) for name in SITES}
        self.events: list[tuple[float, str, str]] = []
        """(time, site, what)"""
        self.began = 0.0
        self.ended = 0.0

    def go(self) -> None:
        """Until every site has ended."""
        for name in SITES:
            self._start(name, STEP_S * SLOWER if "slow" in self.faults and name == SLOW else STEP_S)
        self._until(lambda: all(site.measures for site in self.sites.values()), "all train", DEADLINE_S)
        self.began = max(site.measures[0]["time"] for site in self.sites.values())
        self._event("", "training")
        for at_s, do in self._script():
            self._until(lambda at_s=at_s: time.time() >= self.began + at_s, "the script goes on", DEADLINE_S)
            do()
        honest = [site for name, site in self.sites.items() if not (name == LIAR and "liar" in self.faults)]
        self._until(lambda: not any(site.alive for site in honest), "every site has finished", DEADLINE_S)
        self.ended = time.time()
        self._event("", "finished")

    def _script(self) -> list[tuple[float, Callable[[], None]]]:
        def vpn(state: str, change: Callable[[], None]) -> None:
            change()
            for site in EAST:
                self._event(site, state)

        def kill() -> None:
            self.sites[KILLED].kill()
            self._event(KILLED, "killed")

        def restart() -> None:
            self._start(KILLED, STEP_S)
            self._event(KILLED, "started again")

        def lie() -> None:
            site = self.sites[LIAR]
            site.kill()
            words = [sys.executable, str(HERE / "hospital_liar.py"), str(site.folder / "config.toml")]
            words += ["--join", self._address(SITES[0])]
            self.net.owns(LIAR, site.start([*self.net.prefix[LIAR], *words], 0.0))
            self._event(LIAR, "compromised")

        script = [
            (CUT_S[0], "outage", lambda: vpn("cut off", self.net.cut)),
            (CUT_S[1], "outage", lambda: vpn("connected again", self.net.heal)),
            (KILL_S[0], "crash", kill),
            (KILL_S[1], "crash", restart),
            (LIE_S, "liar", lie),
        ]
        return [(at_s, do) for at_s, fault, do in sorted(script, key=lambda item: item[0]) if fault in self.faults]

    def _start(self, name: str, step_s: float) -> None:
        site = self.sites[name]
        words = [sys.executable, "-m", "agents.command.cli", "run", "--task", str(HERE / "hospital_task.py")]
        words += [
            "--partition",
            self.partition,
            "--shard",
            f"{SITES.index(name)}/{len(SITES)}",
            "--seed",
            str(self.seed),
        ]
        words += ["--name", name, "--run", "hospitals", "--run-dir", str(site.folder), *self.net.placing[name]]
        words += ["--steps", str(self.steps), "--every", f"{EVERY}steps", "--topology", TOPOLOGY, "--no-record"]
        words += ["--weigh", WEIGH]
        words += ["--wait-for", str(len(SITES)), "--settle", "10", "--linger", "3", "--checkpoint-every", "5"]
        words += ["--no-evaluate", "--key", str(self.keys[name]), "--trust", str(self.trust)]
        if name != SITES[0]:
            words += ["--join", self._address(SITES[0])]
        self.net.owns(name, site.start([*self.net.prefix[name], *words], step_s))

    def _address(self, site: str) -> str:
        """With the key that must be there."""
        return f"{self.net.address[site]}#{self.public[site]}"

    def _event(self, site: str, what: str) -> None:
        now = time.time()
        self.events.append((now, site, what))
        self.say(f"{now - self.began if self.began else 0:5.0f} s  {site + ': ' if site else ''}{what}")

    def _until(self, condition: Callable[[], bool], what: str, deadline_s: float) -> None:
        deadline, shown = time.monotonic() + deadline_s, time.monotonic()
        while not condition():
            now = time.time()
            for site in self.sites.values():
                site.look(now)
                if site.process is not None and site.process.poll() not in (None, 0, -signal.SIGKILL):
                    raise Lost(f"{site.name} ended with {site.process.returncode}: {last_line(site)}")
            if time.monotonic() > deadline:
                raise Lost(f"waited {deadline_s:.0f} s in vain until {what}; see {self.folder}")
            if time.monotonic() - shown >= 5 and self.began:
                shown = time.monotonic()
                self.say(f"{now - self.began:5.0f} s  " + "  ".join(f"{s.name} {s.step}" for s in self.sites.values()))
            time.sleep(LOOK_S)

    def end(self) -> None:
        """Whatever still runs; and note what has happened, for the picture."""
        for site in self.sites.values():
            site.kill()
        facts = {"began": self.began, "ended": self.ended or time.time(), "steps": self.steps, "events": self.events}
        (self.folder / "events.json").write_text(json.dumps(facts))

    # What it has shown.

    def stalls_s(self) -> dict[str, float]:
        """By site: the longest time in which it took no step, while it trained."""
        return {site.name: longest_pause_s(site.measures) for site in self.sites.values()}

    def noticed_s(self) -> dict[str, float]:
        """By site on the same side of the outage: how long after the crash it has logged it."""
        killed = next((when for when, site, what in self.events if (site, what) == (KILLED, "killed")), None)
        found = {}
        for site in (self.sites[name] for name in WEST if name not in (KILLED, LIAR) and killed is not None):
            seen = [when for when, line in site.lines if when >= killed and f"{KILLED} is silent" in line]
            found |= {site.name: round(seen[0] - killed, 1)} if seen else {}
        return found

"""`make hospitals`: eight sites train together; a VPN drops, one site is slow, one crashes, one lies. Four minutes.

First the undisturbed run, then the same again with what befalls a real swarm, minutes scaled to seconds:

    Cork is 20 times slower than the others, all the time
    the VPN to Ghent, Lille and Malmo is cut for 60 s: both sides train on by themselves
    Essen is killed (SIGKILL) and started again ten seconds later by the same command
    Delft is compromised: a liar takes over its name, offers poison and claims to be far behind

It ends with both merged models side by side, and exits with 1 if one of the promises isn't kept. Sites are hosts of
their own (network namespaces) where this runs as root, else processes behind proxies: --net says which.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from hospital_network import Net, NetError, namespaces, possible, proxied
from safetensors.numpy import load_file

HERE = Path(__file__).parent
WEST = ["Aarhus", "Bern", "Cork", "Delft", "Essen"]
EAST = ["Ghent", "Lille", "Malmo"]
SITES = [*WEST, *EAST]
SLOW, LIAR, KILLED = "Cork", "Delft", "Essen"
HEALTHY = [site for site in SITES if site not in (SLOW, LIAR, KILLED)]

STEP_S, SLOWER = 0.05, 20
CUT_S, KILL_S, LIE_S = (8.0, 68.0), (16.0, 26.0), 34.0
"""Since training began: the outage, from and to; the crash, and the restart; the first lie."""

POINTS, STALL_S = 0.5, 5.0
"""What is promised: the merged model's accuracy in points below the undisturbed one, and a healthy site's pauses."""

DEADLINE_S = 300.0
LOOK_S = 0.1


class Lost(RuntimeError):
    """The run can't be brought to an end. One line: at which site, and its last words."""


@dataclass
class Site:
    """One site's agent: its process, its folder, what it logs."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)
    """Of its log, each with the time at which it was seen."""

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def start(self, words: list[str], step_s: float) -> int:
        """A process for it; its pid."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_")}
        environment |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment |= {"JAX_PLATFORMS": "cpu", "AGENTS_STEP_S": str(step_s)}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """At once, as a power cut does."""
        if self.alive:
            assert self.process is not None
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def look(self, now: float) -> None:
        """Take in what it has logged."""
        with contextlib.suppress(FileNotFoundError):
            lines = self.log.read_text(errors="replace").splitlines(keepends=True)
            self.lines += [(now, line.rstrip()) for line in lines[len(self.lines) :] if line.endswith("\n")]

    @property
    def measures(self) -> list[dict[str, Any]]:
        """The whole lines of its metrics."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def step(self) -> int:
        measures = self.measures
        return int(measures[-1]["step"]) if measures else 0

    @property
    def consensus(self) -> Path:
        return self.folder / "consensus.safetensors"


class Run:
    """One run of the eight, disturbed or not. say: shows a line."""

    def __init__(self, folder: Path, net: Net, steps: int, seed: int, say: Callable[[str], None]) -> None:
        self.folder, self.net, self.steps, self.seed, self.say = folder, net, steps, seed, say
        folder.mkdir(parents=True)
        self.sites = {name: Site(name, folder / name) for name in SITES}
        self.events: list[tuple[float, str, str]] = []
        """(time, site, what)"""
        self.began = 0.0
        self.ended = 0.0

    def go(self, disturbed: bool) -> None:
        """Until every site has ended."""
        for name in SITES:
            self._start(name, STEP_S * SLOWER if disturbed and name == SLOW else STEP_S)
        self._until(lambda: all(site.measures for site in self.sites.values()), "all train", DEADLINE_S)
        self.began = max(site.measures[0]["time"] for site in self.sites.values())
        self._event("", "training")
        for at_s, do in self._script() if disturbed else ():
            self._until(lambda at_s=at_s: time.time() >= self.began + at_s, "the script goes on", DEADLINE_S)
            do()
        honest = [site for site in self.sites.values() if not (disturbed and site.name == LIAR)]
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
            for other in ("Aarhus", "Bern"):
                words += ["--join", self.net.address[other]]
            self.net.owns(LIAR, site.start([*self.net.prefix[LIAR], *words], 0.0))
            self._event(LIAR, "compromised")

        script = [
            (CUT_S[0], lambda: vpn("cut off", self.net.cut)),
            (CUT_S[1], lambda: vpn("connected again", self.net.heal)),
            (KILL_S[0], kill),
            (KILL_S[1], restart),
            (LIE_S, lie),
        ]
        return sorted(script, key=lambda item: item[0])

    def _start(self, name: str, step_s: float) -> None:
        site = self.sites[name]
        words = [sys.executable, "-m", "agents.command.cli", "run", "--task", str(HERE / "hospital_task.py")]
        words += [
            "--partition",
            "dirichlet:1",
            "--shard",
            f"{SITES.index(name)}/{len(SITES)}",
            "--seed",
            str(self.seed),
        ]
        words += ["--name", name, "--run", "hospitals", "--run-dir", str(site.folder), *self.net.placing[name]]
        words += ["--steps", str(self.steps), "--every", "5steps", "--topology", "exponential", "--no-record"]
        words += ["--wait-for", str(len(SITES)), "--settle", "10", "--linger", "3", "--checkpoint-every", "5"]
        words += ["--no-evaluate"]
        if name != SITES[0]:
            words += ["--join", self.net.address[SITES[0]]]
        self.net.owns(name, site.start([*self.net.prefix[name], *words], step_s))

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
        """Whatever still runs."""
        for site in self.sites.values():
            site.kill()

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


def longest_pause_s(measures: list[dict[str, Any]]) -> float:
    """Between two lines of metrics whose steps differ."""
    moved = [line for before, line in pairwise(measures) if line["step"] != before["step"]]
    times = [line["time"] for line in [*measures[:1], *moved]]
    return max((b - a for a, b in pairwise(times)), default=0.0)


def last_line(site: Site) -> str:
    return site.lines[-1][1] if site.lines else "it logged nothing"


def accuracy_of(paths: list[Path]) -> tuple[list[float], float]:
    """Of each model on the test data, and how far the models' coordinates differ at most."""
    from agents import load_task
    from agents.observe.evaluation import Judge

    judge = Judge(load_task(HERE / "hospital_task.py"))
    names = [parameter.name for parameter in judge.learner.spec]
    thetas = [np.concatenate([load_file(path)[name].ravel() for name in names]) for path in paths]
    spread = max((float(np.abs(theta - thetas[0]).max()) for theta in thetas), default=0.0)
    return [float(judge(theta)["accuracy"]) for theta in thetas], spread


def report(calm: Run, rough: Run, net: str) -> dict[str, Any]:
    """The figures of both, and whether the promises are kept."""
    living = [site for name, site in rough.sites.items() if name != LIAR]
    holding = [site for site in living if site.consensus.exists()]
    (undisturbed, *_), _ = accuracy_of([calm.sites[SITES[0]].consensus])
    accuracies, spread = accuracy_of([site.consensus for site in holding])
    merged = min(accuracies, default=0.0)
    stalls = rough.stalls_s()
    longest = max(stalls[name] for name in HEALTHY)
    card = json.loads(holding[0].consensus.with_suffix(".json").read_text()) if holding else {}
    rates = {name: rate(rough.sites[name].measures) for name in [SLOW, *HEALTHY]}
    return {
        "net": net,
        "steps": rough.steps,
        "undisturbed_accuracy": undisturbed,
        "merged_accuracy": merged,
        "points_below": 100 * (undisturbed - merged),
        "living_sites": len(living),
        "sites_with_the_model": len(holding),
        "models_differ_at_most_by": spread,
        "in_the_model": card.get("agents", []),
        "longest_stall_s": longest,
        "longest_stall_undisturbed_s": max(calm.stalls_s().values()),
        "crash_noticed_s": rough.noticed_s(),
        "slow_site_is_slower_by": statistics.median(rates[name] for name in HEALTHY) / max(rates[SLOW], 1e-9),
        "steps_taken": {name: site.step for name, site in rough.sites.items()},
        "exchanges": {n: s.measures[-1]["exchanges"] for n, s in rough.sites.items() if s.measures},
        "seconds": {"undisturbed": calm.ended - calm.began, "disturbed": rough.ended - rough.began},
        "kept": {
            f"merged accuracy within {POINTS} points of the undisturbed run": 100 * (undisturbed - merged) <= POINTS,
            "every living site holds the model": len(holding) == len(living) and spread < 1e-5,
            f"no stall of a healthy site over {STALL_S:g} s": longest <= STALL_S,
        },
    }


def rate(measures: list[dict[str, Any]]) -> float:
    """Steps a second while it trained."""
    moved = [line for before, line in pairwise(measures) if line["step"] != before["step"]]
    return (moved[-1]["step"] - moved[0]["step"]) / (moved[-1]["time"] - moved[0]["time"]) if len(moved) > 1 else 0.0


def shown(found: dict[str, Any]) -> str:
    """The report for people."""
    noticed = found["crash_noticed_s"]
    lines = [
        "",
        f"merged model, undisturbed   accuracy {found['undisturbed_accuracy']:.4f}",
        f"merged model, disturbed     accuracy {found['merged_accuracy']:.4f}   ({-found['points_below']:+.2f} points)",
        f"holds it: {found['sites_with_the_model']} of {found['living_sites']} living sites, equal to "
        f"{found['models_differ_at_most_by']:.0e}; in it: {', '.join(found['in_the_model'])}",
        f"longest stall of a healthy site: {found['longest_stall_s']:.1f} s "
        f"(undisturbed {found['longest_stall_undisturbed_s']:.1f} s)",
        f"the crash was noticed by {len(noticed)} of the 3 it had left in reach, after "
        f"{min(noticed.values(), default=0):.1f} to {max(noticed.values(), default=0):.1f} s",
        f"{SLOW} was {found['slow_site_is_slower_by']:.0f} times slower",
        "steps      " + "  ".join(f"{name} {steps}" for name, steps in found["steps_taken"].items()),
        "exchanges  " + "  ".join(f"{name} {count}" for name, count in found["exchanges"].items()),
        "",
        *(f"{'kept  ' if kept else 'BROKEN'} {what}" for what, kept in found["kept"].items()),
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def ends_by_signal() -> Iterator[None]:
    """SIGTERM is as Ctrl-C: namespaces and processes are cleaned up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=["namespaces", "proxy"], default="namespaces" if possible() else "proxy")
    parser.add_argument("--steps", type=int, default=1700, help="local steps of each site, 20 a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run-dir", type=Path, help="a new folder for what the sites leave; runs/hospitals-TIME")
    parser.add_argument("--picture", type=Path, help="where to draw the timeline; timeline.png in the run's folder")
    parser.add_argument("--json", action="store_true", help="the report as JSON on stdout; progress on stderr")
    given = parser.parse_args()
    folder = (given.run_dir or Path("runs") / time.strftime("hospitals-%Y%m%d-%H%M%S")).resolve()

    def say(line: str) -> None:
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)

    runs = []
    try:
        with ends_by_signal(), (namespaces if given.net == "namespaces" else proxied)(WEST, EAST) as net:
            for name in ("undisturbed", "disturbed"):
                say(f"{name}: {len(SITES)} sites, {given.steps} steps each, {net.kind}; files in {folder / name}")
                runs.append(Run(folder / name, net, given.steps, given.seed, say))
                try:
                    runs[-1].go(name == "disturbed")
                finally:
                    runs[-1].end()
    except (Lost, NetError) as error:
        print(f"hospitals: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; every process and namespace is gone", file=sys.stderr)
        return 130
    found = report(*runs, given.net)
    (folder / "report.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found) if given.json else shown(found))
    return 0 if all(found["kept"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

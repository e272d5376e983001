"""Chaos with real processes: killed, stopped, starved of a processor, cut off; what is found stands in a table.

    python -m tests.chaos.reliability --minutes 10                   everything
    python -m tests.chaos.reliability --minutes 1 --only notice      one kind
    python -m tests.chaos.reliability --minutes 10 --write           and the table of docs/reliability.md

Each kind prints a line, with what was found beside the limit; the exit status is 1 if a limit was passed.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.chaos import hosts, table
from tests.chaos.processes import Lost, Worker, busy, distance, finish, longest_pause_s, swarm, until, whole


@dataclass(frozen=True)
class Found:
    """What a kind of chaos showed. what: was done; value: found, against `limit`; kept: whether it holds."""

    what: str
    value: str
    limit: str
    kept: bool


def kills(folder: Path, minutes: float, seed: int) -> Found:
    """Six agents, one after the other killed and started again: nobody alive stands still, and all finish."""
    draw = random.Random(seed)
    kept: list[tuple[Worker, float, float]] = []
    with swarm(folder, 6) as workers:
        until(lambda: whole(workers), "all have met", workers)
        end_s = time.monotonic() + minutes * 60
        count = 0
        began = {worker.name: worker.seen()[0].t for worker in workers}
        while time.monotonic() < end_s:
            time.sleep(draw.uniform(2, 10))
            worker = draw.choice(workers)
            kept.append((worker, began[worker.name], worker.kill()))
            count += 1
            time.sleep(draw.uniform(0.2, 5))
            worker.start()
            starts = len(worker.seen())
            until(lambda worker=worker, starts=starts: len(worker.seen()) > starts, f"{worker.name} trains", workers)
            began[worker.name] = worker.seen()[-1].t
        kept += [(worker, began[worker.name], time.monotonic()) for worker in workers]
        all_finish = finish(workers)
    pause_s = max(longest_pause_s([s for s in w.seen() if a <= s.t <= b and not s.finished]) for w, a, b in kept)
    return Found(
        f"{count} times SIGKILL and a restart, six agents, {minutes:g} minutes",
        f"longest stall of one alive {pause_s:.1f} s; {'all finish' if all_finish else 'NOT all finish'}",
        "30 s; all finish",
        all_finish and pause_s <= 30,
    )


def stops(folder: Path, minutes: float, seed: int) -> Found:
    """Four agents, one after the other stopped (SIGSTOP) for as long as it takes to count as gone, and longer."""
    draw, pauses, back = random.Random(seed), [], []
    with swarm(folder, 4) as workers:
        until(lambda: whole(workers), "all have met", workers)
        end_s = time.monotonic() + minutes * 60
        while time.monotonic() < end_s or not pauses:
            worker, others = (each := draw.sample(workers, 4))[0], each[1:]
            began_s = time.monotonic()
            worker.signal(signal.SIGSTOP)
            time.sleep(draw.uniform(1, 15))
            pauses.append(max(longest_pause_s(other.seen(), began_s) for other in others))
            worker.signal(signal.SIGCONT)
            back.append(until(lambda: whole(workers), "all see all again", workers))
    return Found(
        f"{len(back)} times SIGSTOP for 1 to 15 s, then SIGCONT, four agents, {minutes:g} minutes",
        f"longest stall of the others {max(pauses):.1f} s; one view again after at most {max(back):.1f} s",
        "15 s; 10 s",
        max(pauses) <= 15 and max(back) <= 10,
    )


def notice(folder: Path, minutes: float, seed: int) -> Found:
    """Eight agents, one after the other killed: how soon all others know."""
    draw, noticed = random.Random(seed), []
    with swarm(folder, 8) as workers:
        until(lambda: whole(workers), "all have met", workers)
        end_s = time.monotonic() + minutes * 60
        while time.monotonic() < end_s or not noticed:
            worker = draw.choice(workers)
            others = [other for other in workers if other is not worker]
            killed_s = worker.kill()
            until(lambda w=worker, o=others: all(w.name not in other.alive for other in o), "it is noticed", others)
            noticed.append(max(_first_without(other, worker.name, killed_s) for other in others) - killed_s)
            worker.start()
            until(lambda: whole(workers), "it is back", workers)
    return Found(
        f"{len(noticed)} times SIGKILL of one of eight agents",
        f"noticed by all others within {max(noticed):.1f} s",
        "5 s",
        max(noticed) <= 5,
    )


def saturated(folder: Path, minutes: float, seed: int) -> Found:
    """Six agents beside four processes that take both cores: who counts as gone and is there."""
    with swarm(folder, 6) as workers:
        until(lambda: whole(workers), "all have met", workers)
        began_s = time.monotonic()
        with busy(4):
            time.sleep(minutes * 60)
        deaths = sum(_losses(worker, began_s) for worker in workers)
    return Found(
        f"six agents beside four busy processes on two cores, {minutes:g} minutes",
        f"{deaths} false deaths",
        "0",
        deaths == 0,
    )


def partition(folder: Path, minutes: float, seed: int) -> Found:
    """Six agents on six hosts, cut into three and three for 30 s by iptables."""
    with hosts.hosts(6) as six, swarm(folder, 6, six.places) as workers:
        until(lambda: whole(workers), "all have met", workers)
        time.sleep(10)
        usual = max(_distances(workers, 20))
        sides = [0, 2, 4], [1, 3, 5]
        six.part(sides)
        time.sleep(30)
        halves = [[workers[number] for number in side] for side in sides]
        apart, parted = distance(workers), all(whole(half) for half in halves)
        six.part(sides, parted=False)
        one_view_s = until(lambda: whole(workers), "there is one view", workers)
        closer_s = one_view_s + until(lambda: distance(workers) <= usual, "they are as near as before", workers)
    return Found(
        "six hosts cut into three and three for 30 s by iptables",
        f"two views of three: {'yes' if parted else 'no'}; one view again after {one_view_s:.1f} s; consensus distance "
        f"{usual:.2f}, {apart:.2f} at the end of the cut, back after {closer_s:.1f} s",
        "10 s; 60 s",
        parted and one_view_s <= 10 and closer_s <= 60,
    )


def _first_without(worker: Worker, name: str, since_s: float) -> float:
    """When a worker first counted this name as gone, after a moment."""
    return next(seen.t for seen in worker.seen() if seen.t > since_s and name not in seen.alive)


def _losses(worker: Worker, since_s: float) -> int:
    """How often anybody vanished from what a worker saw."""
    seen = [each.alive for each in worker.seen() if each.t >= since_s]
    return sum(len(before - after) for before, after in pairwise(seen))


def _distances(workers: Sequence[Worker], count: int) -> list[float]:
    found = []
    for _ in range(count):
        time.sleep(0.1)
        found.append(distance(workers))
    return found


KINDS: dict[str, Callable[[Path, float, int], Found]] = {
    each.__name__: each for each in (kills, stops, notice, saturated, partition)
}


def main() -> int:
    """Run what was asked for; 1 if a limit was passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of each kind that has a duration")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--write", action="store_true", help="write the table of docs/reliability.md")
    given = parser.parse_args()
    failed = False
    for kind in given.only:
        if kind == "partition" and (missing := hosts.missing()):
            print(f"{kind}: left out: {missing}")
            continue
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            try:
                found = KINDS[kind](Path(folder), given.minutes, given.seed)
            except Lost as error:
                print(f"{kind}: FAILED: {error}", flush=True)
                failed = True
                continue
        failed |= not found.kept
        print(
            f"{kind}: {found.what}: {found.value} (limit {found.limit}){'' if found.kept else ': NOT KEPT'}", flush=True
        )
        if given.write:
            table.write(kind, found.what, found.value, found.limit, found.kept)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""`make hospitals`: eight sites train together; a VPN drops, one site is slow, one crashes, one lies. Four minutes.

First the undisturbed run, then the same again with what befalls a real swarm, minutes scaled to seconds:

    Cork is 20 times slower than the others, all the time
    the VPN to Ghent, Lille and Malmo is cut for 60 s: both sides train on by themselves
    Essen is killed (SIGKILL) and started again ten seconds later by the same command
    Delft is compromised: a liar takes over its name, offers poison and claims to be far behind

All have keys and trust each other's, that of the liar too. It ends with both merged models side by side, and exits with
1 if one of the promises isn't kept. Sites are hosts of their own (network namespaces) where this runs as root, else
processes behind proxies: --net says which.
"""

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hospital_network import NetError, namespaces, possible, proxied
from hospital_picture import draw
from hospital_report import report, shown
from hospital_run import FAULTS, PARTITION, Lost, Run
from hospital_site import EAST, SITES, WEST


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
    parser.add_argument("--missing-steps", action="store_true", help="simulate what the steps not taken cost; minutes")
    parser.add_argument("--steps", type=int, default=1700, help="local steps of each site, 20 a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--partition", default=PARTITION, help="how the data is dealt; iid: all see alike cases")
    parser.add_argument("--without", nargs="+", choices=FAULTS, default=[], help="what shall not befall them")
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
                faults = [fault for fault in FAULTS if name == "disturbed" and fault not in given.without]
                runs.append(Run(folder / name, net, given.steps, given.seed, say, faults, given.partition))
                try:
                    runs[-1].go()
                finally:
                    runs[-1].end()
    except (Lost, NetError) as error:
        print(f"hospitals: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; every process and namespace is gone", file=sys.stderr)
        return 130
    say("judging the models" + ", and simulating what missing steps cost" * given.missing_steps)
    found = report(*runs, given.net, given.missing_steps)
    (folder / "report.json").write_text(json.dumps(found, indent=1))
    picture = given.picture or folder / "timeline.png"
    draw(folder, picture)
    print(json.dumps(found) if given.json else f"{shown(found)}\n\n{picture} shows it")
    return 0 if all(found["kept"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

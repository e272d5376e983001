"""`agent launch`: train with n agents on this machine, watch, assemble and report."""

import json
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from agents import settings
from agents.checks import check_task
from agents.claim import RUNS, Claim, check_unused, wait_until_free
from agents.command.display import Display
from agents.command.flags import Gossiping, Json, Launching, Learning, Resume
from agents.command.interruption import Interruption, interruptible
from agents.command.output import print_json
from agents.command.report import report_of
from agents.command.supervise import LOST, LaunchError, Process, Swarm
from agents.command.tables import lost_line
from agents.compiling import compiled_for
from agents.config import as_flags, read_toml, to_toml
from agents.durable import write_text
from agents.finite import DIVERGED, is_finite
from agents.observe.card import Consensus, counted
from agents.observe.observer import Observer
from agents.store import absolute
from agents.submodel import (
    check_capacities,
    check_private_training,
    check_shards,
    check_somebody_holds_all,
    check_turns,
)
from agents.values import SettingsError
from transport.messages import AgentId, Member

LOOK_S = 0.1
INTERRUPTED = 130
MEET_S = 86400
"""For the first agent to compile: it answers only then; if it ends instead, that is seen at once."""

ENDING_S = 20.0
"""How long agents whose launcher was killed may take to save and to end before a launch is resumed."""

RESTARTS = 3
"""How often `agent consensus` is started again after it was killed, as systems do when memory is short."""


def launch(
    learning: Learning = settings.Learning(),
    gossiping: Gossiping = settings.Gossiping(),
    *,
    launching: Launching,
    resume: Resume = None,
    as_json: Json = False,
) -> int:
    """Train with n agents on this machine, watch, assemble and report."""
    if not learning.task:
        raise SettingsError("--task is missing: name a built-in task or a task file, such as --task digits")
    check_task(learning.task)  # Before agents are started for one that there isn't.
    gossiping = replace(gossiping, overlap="no") if gossiping.overlap == "auto" else gossiping
    check_shards(gossiping.submodel, launching.agents)
    check_private_training(gossiping.submodel, learning.dp)
    check_turns(gossiping.turns, gossiping.submodel, launching.agents, gossiping.private)
    capacities = gossiping.capacity.of(launching.agents)
    check_capacities(gossiping.submodel, capacities, gossiping.private, gossiping.codec)
    check_somebody_holds_all(capacities)
    began_s = time.monotonic()
    existed = False
    if resume is not None:
        claim = _resumed(resume, launching)
    else:
        folder = launching.run_dir or RUNS / f"{Path(learning.task).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        existed = folder.exists()
        check_unused(folder)
        claim = Claim(folder)
    folder = claim.path
    (folder / "agents").mkdir(exist_ok=True)
    write_text(folder / "config.toml", to_toml(absolute(learning), gossiping, replace(launching, run_dir=None)))
    shown = Display(sys.stderr, launching.agents, as_json=launching.log == "json")
    with interruptible() as interruption, shown as display:
        display.line(
            f"{learning.task}, {counted(launching.agents)}; files in {folder} (`agent top {folder}` shows it live)"
        )
        alone = bool(gossiping.private)  # Of what stays with an agent it alone can say how good it is.
        alike = as_flags(learning, gossiping, whole=True, without={"capacity"})
        shares, preloaded = [f"{share:g}" for share in capacities], compiled_for(gossiping.codec)
        swarm = Swarm(launching.agents, alike, folder, launching, alone, shares, preloaded)
        try:
            swarm.start(interruption.check)
            Watch(swarm, display, interruption, learning).until_assembled()
        except KeyboardInterrupt:
            display.line(
                f"stopping at once; `agent launch --resume {folder}` goes on, "
                f"`agent consensus {folder}` assembles what agents have saved, if any has"
            )
            raise
        finally:
            before = interruption.requests
            swarm.stop(hurried=lambda: interruption.requests > before)
            if swarm.refused and resume is None:
                try:
                    _remove(folder, existed)
                except OSError as error:
                    display.line(f"{folder} can't be removed ({error}): remove it before the next try")
            claim.close()
    card = json.loads((folder / "consensus.json").read_text())
    report = report_of(folder, time.monotonic() - began_s, swarm, card)
    try:
        write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    except OSError as error:
        display.line(f"{folder / 'report.json'} could not be written ({error})")
    if as_json:
        print_json(report)
    else:
        lost, mean, best = lost_line(report["lost"]), report["mean_accuracy"], report["best_accuracy"]
        own = f"accuracy: mean of agents {mean:.4f}, best agent {best:.4f}" if card["own"] and mean is not None else ""
        end = f"{report['seconds']:.1f} s; consensus model in {card['path']}"
        for line in (*Consensus(**card).lines(), *filter(None, (own, lost)), end):
            display.line(line)
    return INTERRUPTED if interruption.requests else 0


class Watch:
    """Looks at a launched swarm, shows it, and assembles its consensus when all agents have finished."""

    def __init__(self, swarm: Swarm, display: Display, interruption: Interruption, learning: Learning) -> None:
        self._swarm = swarm
        self._display = display
        self._interruption = interruption
        self._learning = learning
        self._last: dict[AgentId, Member] = {}
        self._ended: set[str] = set()
        self._diverged: set[str] = set()
        self._observer = Observer(swarm.addresses)
        self._written_ns = _written_ns(swarm.run_dir)
        self._before = {process.name: process.last_measure() for process in swarm.processes}
        self._warned_of_server = False
        self._asked_to_stop = False

    def until_assembled(self) -> None:
        """Show progress until the consensus is written.

        A request to stop ends the training and assembles what there is; it raises KeyboardInterrupt if nothing was
        trained yet, as does a second one. Raises LaunchError if an agent can't start, none is left, or it fails.
        """
        try:
            while len(self._swarm.addresses) < len(self._swarm.processes):
                self._look()
            process, waits, restarts = self._assembler("--wait"), True, 0
            while process.alive:
                self._look()
                if self._interruption.requests and not self._asked_to_stop:
                    self._asked_to_stop = True
                    self._display.line("stopping: assembling what there is (Ctrl-C again to stop at once)")
                    process.signal(signal.SIGINT)
                    for agent in self._swarm.processes:  # They train on until their vectors are fetched.
                        agent.lower_priority()
                process.handle.join(LOOK_S)
                if process.alive or self._is_written(process):
                    continue
                if self._asked_to_stop and waits:  # The signal came before it had begun to wait.
                    process, waits = self._assembler(), False
                elif _was_killed(process) and restarts < RESTARTS:
                    restarts += 1
                    self._display.line(f"`agent consensus` {process.end()}: starting it again")
                    process = self._assembler(*(("--wait",) if waits else ()))
            for ended in self._swarm.processes:  # Of some that were quick no record was seen.
                measure = ended.last_measure()
                self._show_divergence(ended.name, measure.get("loss", 0.0) is None)
            if not self._is_written(process):
                raise LaunchError(
                    f"the consensus could not be assembled: {process.cause()}; what the agents have saved is "
                    f"assembled by `agent consensus {self._swarm.run_dir}`"
                )
        finally:
            self._observer.close()

    def _is_written(self, process: Process) -> bool:
        """Whether the assembler has done its work; its exit code isn't known if the fork server was killed."""
        written = _written_ns(self._swarm.run_dir) != self._written_ns
        return process.handle.exitcode == 0 or (process.handle.exitcode == LOST and not process.alive and written)

    def _has_trained(self) -> bool:
        """Whether there is anything to assemble."""
        return bool(self._last) or any(process.last_measure() for process in self._swarm.processes)

    def _took_part(self, process: Process) -> bool:
        """Whether an agent that has ended had started well: its record may not have been seen before."""
        trained = process.last_measure() != self._before[process.name]
        return process.name in self._last or process.handle.exitcode == 0 or trained

    def _look(self) -> None:
        """One look at the swarm and at the processes."""
        self._interruption.check(allowed=1 if self._has_trained() else 0)
        self._observer.watch(self._swarm.addresses)
        self._observer.refresh(0.5)
        for member in (*self._observer.alive(), *self._observer.gone()):
            self._last[member.agent] = member
            self._show_divergence(member.agent, not is_finite(member.report.loss))
        processes = self._swarm.processes
        if not self._warned_of_server and any(process.orphaned for process in processes):
            self._warned_of_server = True
            self._display.line("the fork server, which started the agents, was killed (is memory short?): they go on")
        for process in processes:
            if not process.alive and process.name not in self._ended:
                self._ended.add(process.name)
                if not self._took_part(process):
                    raise LaunchError(process.cause())
                why = f" ({process.cause()})" if process.handle.exitcode not in (0, LOST) else ""
                self._display.line(f"{process.name} {process.end()}: the others go on{why}")
        if len(self._ended) == len(processes):
            raise LaunchError(
                f"no agent is left: {processes[0].cause()}; `agent launch --resume {self._swarm.run_dir}` goes on, "
                f"`agent consensus {self._swarm.run_dir}` assembles what they have saved"
            )
        silent_s = {agent: self._observer.silent_s(agent) for agent in self._last}
        alive = {member.agent for member in self._observer.alive()} - self._ended
        self._display.update(self._last.values(), alive, silent_s)

    def _show_divergence(self, agent: str, diverged: bool) -> None:
        """Show it, once for each agent."""
        if diverged and agent not in self._diverged:
            self._diverged.add(agent)
            self._display.line(f"{agent}: {DIVERGED}")

    def _assembler(self, *more: str) -> Process:
        """Start `agent consensus` as a process; with --wait it imports and compiles while the agents still train.

        It is given every address, so that it doesn't matter which of the agents ends early.
        """
        swarm, learning = self._swarm, self._learning
        join = (f"--join={address}" for address in swarm.addresses)
        expect = (f"--expect={process.name}" for process in swarm.processes)
        out = ("--no-compare", f"--out={swarm.run_dir / 'consensus.safetensors'}", f"--timeout={MEET_S}")
        task = (f"--task={learning.task}", *((f"--data={learning.data}",) if learning.data else ()))
        return swarm.command("consensus", swarm.run_dir / "assembly", ["consensus", *out, *task, *join, *expect, *more])


def _was_killed(process: Process) -> bool:
    code = process.handle.exitcode
    return code is not None and (code < 0 or code == LOST)


def _written_ns(run_dir: Path) -> int:
    """When the consensus was written, 0 if it wasn't; a launch that is resumed may find one of before."""
    try:
        return (run_dir / "consensus.json").stat().st_mtime_ns
    except OSError:
        return 0


def _resumed(folder: Path, launching: Launching) -> Claim:
    """The folder of an interrupted launch, once nothing of it runs any more. Raises SettingsError or FolderInUse."""
    if launching.run_dir is not None:
        raise SettingsError(f"--resume {folder} goes on in that folder: leave --run-dir {launching.run_dir} out")
    agents = read_toml(folder / "config.toml").get("agents")
    if launching.agents != agents:
        raise SettingsError(
            f"--resume {folder} was launched with {agents} agents, and -n says {launching.agents}: each has its shard "
            "of the data; leave -n out, or launch anew"
        )
    wait_until_free(folder, ENDING_S)
    for agent in sorted(folder.glob("agents/*")):
        wait_until_free(agent, ENDING_S)
    return Claim(folder)


def _remove(folder: Path, existed: bool) -> None:
    """Nothing ever ran in it: leave nothing that would be in the way of the next try. existed: it was there, empty."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not existed:
        folder.rmdir()

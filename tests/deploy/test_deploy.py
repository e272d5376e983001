"""What deploy/ holds is valid by the rules of its kind, and the CLI takes each `agent` command line in it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from agents.command import cli
from agents.command.sources import sources
from agents.settings import Learning, Placing, Securing

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd/agent@.service"
JOB = DEPLOY / "slurm/gossamer.sbatch"
MANIFEST = DEPLOY / "kubernetes/gossamer.yaml"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(DEPLOY.rglob("*.md"))]

Parse = Callable[..., dict[type, Any]]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Has the CLI take a command line, without carrying it out: the settings, by their class."""
    for name in [name for name in os.environ if name.startswith("AGENT_")]:
        monkeypatch.delenv(name)

    def parsed(*arguments: str) -> dict[type, Any]:
        given = list(arguments)
        monkeypatch.setattr(cli.app, "config", sources(given))
        _, bound, _ = cli.app.parse_args(given, exit_on_error=False, print_error=False)
        return {type(value): value for value in bound.arguments.values()}

    return parsed


# Command lines.


def test_the_unit_starts_an_agent(parse: Parse) -> None:
    (line,) = re.findall(r"^ExecStart=(.+)$", UNIT.read_text(), re.MULTILINE)
    words = {"%i": "hospital", "%S": "/var/lib", "/etc/gossamer/%i.toml": str(DEPLOY / "systemd/site.toml")}
    for word in sorted(words, key=len, reverse=True):
        line = line.replace(word, words[word])
    assert line.split()[0] == "/opt/gossamer/bin/agent"
    settings = parse(*line.split()[1:])
    placing = settings[Placing]
    assert settings[Securing].secret == Path("/etc/gossamer/secret")
    assert (placing.name, placing.run_dir) == ("hospital", Path("/var/lib/gossamer/hospital"))
    assert placing.shard.shards == placing.wait_for == len(placing.join) == 3
    assert placing.advertise in placing.join, "it must know itself there, or all wait for each other"


@pytest.mark.parametrize("rank", [0, 3])
def test_the_job_starts_an_agent_on_each_node(parse: Parse, tmp_path: Path, rank: int) -> None:
    """The script itself runs, between programs that stand in for Slurm's and write down what `agent` is given."""
    stand_ins = {
        "scontrol": 'printf "node-%d\\n" 0 1 2 3',
        "srun": 'while [[ $1 == -* ]]; do shift; done; exec "$@"',
        "agent": f'{sys.executable} -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$@" > {tmp_path}/words',
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"JOB_ID": "4711", "JOB_NODELIST": "node-[0-3]", "SUBMIT_DIR": "/home/a b", "NTASKS": "4"}
    environment = {f"SLURM_{name}": value for name, value in slurm.items()} | {
        **{"SLURM_PROCID": str(rank), "SLURMD_NODENAME": f"node-{rank}", "HOME": str(tmp_path)},
        **{"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    }
    subprocess.run(["bash", JOB, "--task", "digits"], env=environment, check=True, capture_output=True, timeout=30)
    settings = parse(*json.loads((tmp_path / "words").read_text()))
    placing = settings[Placing]
    assert settings[Learning].task == "digits" and settings[Securing].encrypts
    assert (placing.name, str(placing.shard), placing.wait_for) == (f"agent-{rank}", f"{rank}/4", 4)
    assert placing.run_dir == Path(f"/home/a b/runs/gossamer-4711/agents/agent-{rank}")
    assert placing.join == ("tcp://node-0:24711",) and placing.advertise == f"tcp://node-{rank}:24711"


@pytest.fixture
def manifest() -> dict[str, dict[str, Any]]:
    """The resources of the Kubernetes manifest by kind."""
    return {resource["kind"]: resource for resource in yaml.safe_load_all(MANIFEST.read_text())}


def test_each_pod_starts_an_agent(parse: Parse, manifest: dict[str, Any], tmp_path: Path) -> None:
    replicas = manifest["StatefulSet"]["spec"]["replicas"]
    pod = manifest["StatefulSet"]["spec"]["template"]["spec"]
    service = manifest["Service"]["metadata"]["name"]
    (tmp_path / "swarm.toml").write_text(manifest["ConfigMap"]["data"]["swarm.toml"])
    found = []
    for index in range(replicas):
        name = f"{manifest['StatefulSet']['metadata']['name']}-{index}"
        values = {"$(POD_NAME)": name, "$(POD_INDEX)": str(index), "/etc/gossamer": str(tmp_path)}
        arguments = " ".join(pod["containers"][0]["args"])
        for word, value in values.items():
            arguments = arguments.replace(word, value)
        settings = parse(*arguments.split())
        assert settings[Securing].encrypts
        found.append(settings[Placing])
        assert found[-1].advertise == f"tcp://{name}.{service}:5710"
    assert [str(placing.shard) for placing in found] == [f"{index}/{replicas}" for index in range(replicas)]
    assert {placing.wait_for for placing in found} == {replicas}
    assert {placing.join for placing in found} == {tuple(placing.advertise for placing in found)}
    assert pod["terminationGracePeriodSeconds"] > 10


def lines_of(page: Path) -> list[str]:
    """The `agent` command lines that a page shows in its blocks of code."""
    return re.findall(r"^(?:    | {6,10})(agent [a-z].*?)(?: +\.\.\.)?(?:  +#.*)?$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_command_lines_that_the_command_takes(
    parse: Parse, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for line in lines_of(page):
        parse(*shlex.split(line.replace("#KEY", "#" + 43 * "k"))[1:])


def test_pages_show_command_lines() -> None:
    assert sum(len(lines_of(page)) for page in PAGES) > 5


# Validity by kind.


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, of Debian's `systemd`")
def test_the_unit_is_valid_and_confined(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/gossamer/bin/agent", sys.executable))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit]
    assert subprocess.run(rated, capture_output=True, timeout=60).returncode == 0, "exposure above 2.0 of 10"


@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
def test_the_manifest_fits_the_schema(manifest: dict[str, Any], version: str) -> None:
    for resource in manifest.values():
        kubernetes_validate.validate(resource, version, strict=True)


def test_what_the_pods_mount_is_there(manifest: dict[str, Any]) -> None:
    spec = manifest["StatefulSet"]["spec"]
    pod = spec["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert spec["serviceName"] == manifest["Service"]["metadata"]["name"]
    assert spec["selector"]["matchLabels"] == manifest["Service"]["spec"]["selector"]
    assert spec["template"]["metadata"]["labels"] == manifest["Service"]["spec"]["selector"]


def test_shellcheck_finds_nothing_in_the_job() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    checked = subprocess.run([shellcheck, "--shell=bash", JOB], capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_job_sets_its_options_before_its_first_command() -> None:
    """Slurm reads no option after it."""
    lines = JOB.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert [number for number, line in enumerate(lines) if line.startswith("#SBATCH")][-1] < first


def test_the_image_is_built_of_what_is_there_and_runs_without_root(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "Dockerfile", tmp_path)
    steps = [(step["instruction"], step["value"]) for step in DockerfileParser(str(tmp_path)).structure]
    copied = [value.split() for instruction, value in steps if instruction == "COPY" and "--from" not in value]
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")}
    assert {name for *names, _ in copied for name in names} == kept
    assert all((ROOT / name).exists() for name in kept)
    last = dict(steps)
    assert last["USER"] == "10001:10001" and last["STOPSIGNAL"] == "SIGTERM" and last["ENTRYPOINT"] == '["agent"]'
    assert ("FROM", "python:3.12-slim") in steps

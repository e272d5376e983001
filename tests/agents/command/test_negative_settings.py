"""A flag with --no- is no setting of its own: in a file or the environment its value was taken for the setting's."""

from pathlib import Path

import pytest

from agents.command.cli import app, run_command
from agents.command.sources import sources
from agents.settings import Placing, Securing


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("value", ["true", "false"])
@pytest.mark.parametrize("name", ["insecure", "record", "evaluate"])
def test_it_is_refused_with_the_name_of_the_setting(
    name: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (f"no_{name}", f"no-{name}"):
        Path("swarm.toml").write_text(f"{key} = {value}\n")
        assert run_command(["run", "--task", "digits", "--config", "swarm.toml"]) == 2
        assert f"there is no setting 'no_{name}'; did you mean {name}?" in capsys.readouterr().err
    monkeypatch.setenv(f"AGENT_NO_{name.upper()}", value)
    assert run_command(["run", "--task", "digits"]) == 2
    assert f"set AGENT_{name.upper()}=no, or =yes, in its place" in capsys.readouterr().err


@pytest.mark.parametrize("no", [True, False])
def test_the_setting_itself_is_read_and_the_flag_comes_first(no: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("swarm.toml").write_text(f"record = {str(not no).lower()}\n")
    monkeypatch.setenv("AGENT_EVALUATE", "no" if no else "yes")
    words = ["run", "--config", "swarm.toml", "--no-insecure" if no else "--insecure"]
    monkeypatch.setattr(app, "config", sources(words))
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    given = {type(value): value for value in bound.arguments.values()}
    placing, securing = given[Placing], given[Securing]
    assert (placing.record, placing.evaluate, securing.insecure) == (not no, not no, not no)

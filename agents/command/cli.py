"""The `agent` command. Importing this imports no JAX: `agent --help` answers at once."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError
from cyclopts.config import Env, Toml

app = App(
    name="agent",
    help="Several machines train one JAX model together by gossip, with no server between them.",
    help_epilogue="Settings are read as flags > environment (AGENT_ALPHA=0.5) > TOML file (--config swarm.toml).",
    version_flags=["--version"],
    version="0.1.0",
    help_format="plaintext",
)
for name, text in {
    "launch": "Train with n agents on this machine, watch, assemble and report.",
    "run": "Train here, gossip with the swarm, and leave when everyone has finished.",
    "status": "Who is alive, how far, and when each last exchanged.",
    "consensus": "Stream every agent's vector, average, evaluate, and write the merged model.",
}.items():
    app.command(f"agents.command.{name}:{name}", name=name, help=text)

USAGE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 well, 1 failed on the way, 2 never started, 130 interrupted."""
    sys.exit(run_command(list(sys.argv[1:] if arguments is None else arguments)))


def run_command(arguments: list[str]) -> int:
    """The exit status of one command line; every error is one line on stderr."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("gossamer").setLevel(os.environ.get("AGENT_LOG", "INFO").upper())
    try:
        app.config = _config(arguments)
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except KeyboardInterrupt:
        return 130
    except CycloptsError as error:
        return _fail(_flat(str(error)) + " See `agent --help`.")
    except Exception as error:
        if not _is_foreseen(error):
            raise
        return _fail(str(error))
    return result if isinstance(result, int) else 0


def _config(arguments: list[str]) -> tuple[Any, ...]:
    """Environment before file: each fills what is still unset. `--config FILE` is taken out of the arguments."""
    sources: list[Any] = [Env("AGENT_", command=False)]
    path = _take_option(arguments, "--config") or os.environ.get("AGENT_CONFIG")
    if path:
        if not Path(path).is_file():
            raise FileNotFoundError(f"--config: there is no file {path}; expected a TOML file of settings")
        sources.append(Toml(path, must_exist=True, use_commands_as_keys=False))
    return tuple(sources)


def _take_option(arguments: list[str], name: str) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            value = arguments[index + 1]
            del arguments[index : index + 2]
            return value
        if argument.startswith(name + "="):
            return arguments.pop(index).split("=", 1)[1]
    return None


def _is_foreseen(error: Exception) -> bool:
    """Whether it is one of our own errors, or one of the files and addresses we were given: a line, not a traceback."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in ("agents", "topology", "transport")


def _fail(text: str) -> int:
    print(f"agent: {_flat(text)}", file=sys.stderr)
    return USAGE


def _flat(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()

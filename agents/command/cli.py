"""The `agent` command. Importing this imports no JAX: `agent --help` answers at once."""

import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.help import DefaultFormatter

from agents.command import logs
from agents.command.interruption import insisting
from agents.command.sources import OF_RUN, log_level, sources
from agents.fields import Settings
from topology.errors import GossamerError


class WholeLines(DefaultFormatter):
    """Prints a panel of --help, wrapped by its width alone: a docstring's lines end elsewhere."""

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        for entry in panel.entries:
            text = getattr(entry.description, "primary_renderable", None)
            if text is not None:
                text.plain = " ".join(text.plain.split())
        super().__call__(console, options, panel)


COMMANDS = {
    "launch": "Train with n agents on this machine, watch, assemble and report.",
    "run": "Train here, gossip with the swarm, and leave when everyone has finished.",
    "status": "Who is alive, how far each has trained, and when it last exchanged.",
    "consensus": "Fetch every agent's model, average, evaluate, and write the merged one.",
    "top": "The live swarm on a terminal: agents, how far apart they are, links, alarms.",
    "dashboard": "Serve a page that shows a swarm while it trains, or what a run has left.",
    "plan": "Measure this machine, and recommend how many agents, which topology, codec and period.",
    "doctor": "Check whether an agent with these settings can take part from this machine.",
    "stop": "Ask every agent of a swarm on this machine to save and to leave.",
    "keygen": "Make a secret key in a file, and print the public key that belongs to it.",
    "invite": "Print a token with which one other machine joins, once.",
    "join": "Take part with such a token: make a key, and trust whom the inviter trusts.",
    "trust": "Edit the list of keys that are trusted; agents that run with it follow at once.",
    "explain": "Explain an error by its number, such as G201.",
}

app = App(
    name="agent",
    help="Several machines train one JAX model together by gossip, with no server between them.",
    help_epilogue="Settings come from flags > environment (AGENT_ALPHA=0.5) > TOML file (--config swarm.toml).",
    version_flags=["--version"],
    version="0.1.0",
    help_format="plaintext",  # Markdown costs a fifth of the time that --help takes.
    help_formatter=WholeLines(),
    default_parameter=Parameter(show_env_var=False, negative_iterable=()),
)
for place, (name, text) in enumerate(COMMANDS.items()):
    app.command(f"agents.command.{name}:{name}", name=name, help=text, sort_key=place)

BUG, FAULT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

USAGE, SYSTEM = "G100", "G408"
"""The numbers of errors that no class of ours stands for: those of the command line, and those of the system."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 well, 1 a bug, 2 an error that the line on stderr explains, 130 Ctrl-C.

    Whoever reads our output may stop early (`| head`): no error, but 141, as of any program that SIGPIPE ends.
    """
    sys.exit(run_command(list(sys.argv[1:] if arguments is None else arguments)))


def run_command(arguments: list[str]) -> int:
    """The exit status of one command line; every error is one line on stderr, a bug's after its traceback."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("gossamer").setLevel("INFO")
    logs.configure(logs.asked(arguments))
    try:
        logging.getLogger("gossamer").setLevel(log_level())
        with insisting():
            app.config = sources(arguments)
            result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes what is left, at exit.
        return BROKEN_PIPE
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # Rich has dealt with it so.
            return BROKEN_PIPE
        raise
    except CycloptsError as error:
        return _fail(_explained(error), USAGE)
    except GossamerError as error:
        return _fail(str(error), error.code)
    except OSError as error:
        return _fail(str(error), SYSTEM)
    except Exception as error:
        from agents.command.causes import cause

        return _fail(cause(error), bug=error)
    return result if isinstance(result, int) else 0


def _explained(error: CycloptsError) -> str:
    """What is wrong with the command line, and where to read on."""
    command = " ".join(["agent", *(error.command_chain or ())])
    text = str(error).replace("|None", "")
    match error:
        case MissingArgumentError() if error.argument is not None and not error.keyword:
            text = f"`{command}` needs {_called(error.argument)}."
        case UnknownCommandError() if error.unused_tokens:
            token, known = error.unused_tokens[0], [name for name in error.app or () if not name.startswith("-")]
            text = f"there is no command {token!r}{_nearest(token, known) or '; there are ' + ', '.join(known)}"
        case UnknownOptionError() if error.token.source == "cli":
            flag = (error.token.keyword or error.token.value).split("=")[0]
            known = [name for each in error.argument_collection for name in each.names if name.startswith("-")]
            other = ", which `agent run` has" if flag in OF_RUN else ""
            text = f"`{command}` has no {flag}{_nearest(flag, known) or other}"
        case UnusedCliTokensError():
            parameters = signature(error.target).parameters.values() if error.target is not None else ()
            taken = [each for each in parameters if not isinstance(each.default, Settings)]  # Those are flags.
            count = sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in taken)
            takes = f"at most {count} argument{'s' * (count != 1)} besides flags" if count else "flags only"
            text = f"`{command}` takes {takes}: got {' '.join(map(repr, error.unused_tokens or ()))}."
    return (
        f"{text} See `{command} --help`" if text.endswith("?") else f"{text.removesuffix('.')}; see `{command} --help`"
    )


def _called(argument: Any) -> str:
    """A flag by its names; what is given without a flag as --help shows it."""
    if argument.index is not None:
        return str(argument.name.removeprefix("--").upper())
    return " or ".join(argument.names)


def _nearest(typed: str, known: Iterable[str]) -> str:
    """A question whether a name was meant that is nearly this one; "" where none is."""
    near = get_close_matches(typed, known, 1, cutoff=0.7)
    return f", did you mean {near[0]}?" if near else ""


def _fail(text: str, code: str = "", bug: Exception | None = None) -> int:
    """Print the error in one line with its number, unless the text repeats an error that has one: the exit status."""
    logs.fail(" ".join(text.split()), "" if re.search(r"\[G\d{3}\]", text) else code, bug)
    return FAULT if bug is None else BUG


if __name__ == "__main__":
    main()

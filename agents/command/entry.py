"""The `agent` command's first step, before anything that takes long to import: `agents.command.cli` is the command."""

import sys

from agents.command.session import in_own_session, looks_once


def main() -> None:
    """Run the command line, in a session of its own if it looks at a swarm once, and exit."""
    try:
        if looks_once(sys.argv[1:]):
            in_own_session()
        from agents.command.cli import main as command

        command()
    except KeyboardInterrupt:  # Ctrl-C while this imports.
        sys.exit(130)


if __name__ == "__main__":
    main()

"""`agent keygen`: a secret key in a file, and its public half on the screen."""

from pathlib import Path

from agents.command.flags import Json
from agents.command.output import print_json
from transport.keys import new_key, write_key


def keygen(*, out: Path = Path("agent.key"), as_json: Json = False) -> int:
    """Make a secret key, for --key or, copied to all machines, for --secret; print the public key that belongs to it.

    Parameters:
        out: The file to write, which its owner alone can read.
    """
    key = new_key()
    write_key(out, key)
    if as_json:
        print_json({"key": str(out), "public": key.public})
    else:
        print(key.public)
    return 0

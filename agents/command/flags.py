"""Flags that several commands share."""

from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object on stdout.")]
Join = Annotated[
    tuple[str, ...],
    Parameter(
        name="--join", help="The address of any agent of the swarm, tcp://HOST:PORT; more than one may be given."
    ),
]
Timeout = Annotated[float, Parameter(name="--timeout", help="Seconds to wait for the first answer.")]

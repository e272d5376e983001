"""Flags that several commands share."""

from typing import Annotated

from cyclopts import Group, Parameter

OUTPUT = Group("Output", sort_key=9)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object on stdout.", group=OUTPUT)]
Join = Annotated[
    tuple[str, ...],
    Parameter(
        name="--join", help="The address of any agent of the swarm, tcp://HOST:PORT; more than one may be given."
    ),
]
Timeout = Annotated[float, Parameter(name="--timeout", help="Seconds to wait for the first answer.")]

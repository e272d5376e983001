"""`agent stop`: end a swarm that runs on this machine."""

from agents import settings
from agents.command.flags import Join, Json, Securing, Timeout
from agents.command.output import print_json
from agents.observe.observer import observing
from agents.observe.stopping import stop as stopped
from agents.observe.texts import visible
from agents.securing import credentials


def stop(securing: Securing = settings.Securing(), *, join: Join, timeout: Timeout = 5.0, as_json: Json = False) -> int:
    """Ask every agent of a swarm on this machine to save and to leave; each goes on with `agent run --resume DIR`."""
    with observing(join, timeout, credentials(securing, join, agent=False)) as (observer, welcome):
        names = sorted(member.agent for member in stopped(observer))
    if as_json:
        print_json({"run": welcome.run, "stopped": names})
    else:
        print(visible(f"{welcome.run}: {', '.join(names)} saved and left"))
    return 0

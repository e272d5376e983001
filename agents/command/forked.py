"""Imported by the fork server alone: a session for it and all that it starts, apart from the terminal's.

Linux shares processors out by session (autogroup, sched(7)). With one for all of a launch's agents, which take whatever
processors there are, another command in a terminal gets its part at once, `agent top` for one; were each agent's its
own, it would get one of so many.
"""

import os

os.setsid()

"""The rule "parameters": gossip averages the parameters alone; the optimizer's state stays with its agent.

Decentralized SGD (Lian et al. 2017, arXiv 1705.09056). Momentum, if there is any, is each agent's own.
"""

from agents.learning.rules.rule import Rule

parameters = Rule("parameters", ("theta",), around=lambda optimizer: optimizer)

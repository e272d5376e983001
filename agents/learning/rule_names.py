"""The names of the learning rules (`agents.learning.rules`), for who doesn't need JAX yet."""

RULE_NAMES = ("parameters", "drift")

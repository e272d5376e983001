"""The built-in tasks by name. Each module offers `task`, a function of the data's path, just as a user's file does."""

BUILT_IN = {
    "digits": "agents.learning.tasks.digits",
    "fashion-mnist": "agents.learning.tasks.idx",
    "idx": "agents.learning.tasks.idx",
    "npz": "agents.learning.tasks.npz",
}

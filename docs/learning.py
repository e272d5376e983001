"""Writes the tables of docs/learning.md from docs/learning.json, which `benchmarks/learning.py --keep` measures.

python docs/learning.py --write
"""

from typing import Any

from pages import main

PARTITIONS = ("iid", "dirichlet:1", "dirichlet:0.1", "dirichlet:0.01")
TASKS = {
    "mlp": "Fashion-MNIST, MLP 784-128-10",
    "cnn": "Fashion-MNIST, the built-in convolutional network",
    "digits": "digits, MLP 64-64-10",
}

Result = dict[str, Any]


def tables(results: list[Result]) -> dict[str, str]:
    """The page's one part of tables."""
    return {"tables": _all(results).lstrip("\n")}


def _all(results: list[Result]) -> str:
    """A table for each task and length: a row for each rule, codec and period, a column for each partition."""
    text = ""
    for setting in sorted({_setting(each) for each in results}, key=lambda each: (list(TASKS).index(each[0]), each)):
        some = [each for each in results if _setting(each) == setting]
        text += "\n" + _table(setting, some)
    return text


def _setting(result: Result) -> tuple[str, int, int, float]:
    return result["task"], result["agents"], result["steps"], result["learning_rate"]


def _table(setting: tuple[str, int, int, float], results: list[Result]) -> str:
    task, agents, steps, learning_rate = setting
    columns = [partition for partition in PARTITIONS if any(each["partition"] == partition for each in results)]
    title = (
        f"**{TASKS[task]}**: {agents} agents, {steps} steps of batch 32, momentum 0.9, cosine from {learning_rate:g}"
    )
    heads = ["rule", "codec", "every", "topology", "bytes", *columns]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows.append("| centralized | | | | | " + " | ".join(_centralized(results, each) for each in columns) + " |")
    cases = {(each["bytes_ratio"], *_case(each)) for each in results}
    for size, *case in sorted(cases, reverse=True):
        cells = [_cell(results, partition, tuple(case)) for partition in columns]
        rows.append(f"| {' | '.join(map(str, case))} | {size:.3f} | " + " | ".join(cells) + " |")
    return "\n".join([title, "", *rows]) + "\n"


def _centralized(results: list[Result], partition: str) -> str:
    some = max((each for each in results if each["partition"] == partition), key=lambda each: int(each["seeds"]))
    return f"{some['centralized_mean']:.4f} ± {some['centralized_std']:.4f}"


def _case(result: Result) -> tuple[str, str, int, str]:
    return result["rule"], result["codec"], result["every"], result["topology"]


def _cell(results: list[Result], partition: str, case: tuple[Any, ...]) -> str:
    some = [each for each in results if each["partition"] == partition and _case(each) == case]
    if not some:
        return ""
    points = 100 * (some[0]["merged_mean"] - some[0]["centralized_mean"])
    seeds = "" if some[0]["seeds"] == 3 else f", {some[0]['seeds']} seed" + "s" * (some[0]["seeds"] > 1)
    return f"{points:+.2f} (± {100 * some[0]['merged_std']:.2f}{seeds})"


if __name__ == "__main__":
    main(__doc__, "learning", tables)

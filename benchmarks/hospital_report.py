"""What `make hospitals` has shown: the figures of both runs, and whether the promises are kept."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from hospital_run import EVERY, HERE, TOPOLOGY, WEIGH, Run
from hospital_site import HEALTHY, LIAR, SITES, SLOW, rate
from safetensors.numpy import load_file

from agents import load_task
from agents.observe.evaluation import Judge
from sim import simulate

POINTS, STALL_S = 0.5, 5.0
"""What is promised: the merged model's accuracy in points below the undisturbed one, and a healthy site's pauses."""


def report(calm: Run, rough: Run, net: str, missing_steps: bool = False) -> dict[str, Any]:
    """The figures of both, and whether the promises are kept. missing_steps: with what missing steps alone cost."""
    living = [site for name, site in rough.sites.items() if name != LIAR or "liar" not in rough.faults]
    holding = [site for site in living if site.consensus.exists()]
    (undisturbed, *_), _ = accuracy_of([calm.sites[SITES[0]].consensus])
    accuracies, spread = accuracy_of([site.consensus for site in holding])
    merged = min(accuracies, default=0.0)
    stalls = rough.stalls_s()
    longest = max(stalls[name] for name in HEALTHY)
    card = json.loads(holding[0].consensus.with_suffix(".json").read_text()) if holding else {}
    rates = {name: rate(rough.sites[name].measures) for name in [SLOW, *HEALTHY]}
    return {
        "net": net,
        "steps": rough.steps,
        "undisturbed_accuracy": undisturbed,
        "merged_accuracy": merged,
        "points_below": 100 * (undisturbed - merged),
        "points_of_missing_steps": points_of_missing_steps(rough) if missing_steps else None,
        "living_sites": len(living),
        "sites_with_the_model": len(holding),
        "models_differ_at_most_by": spread,
        "in_the_model": card.get("agents", []),
        "longest_stall_s": longest,
        "longest_stall_undisturbed_s": max(calm.stalls_s().values()),
        "crash_noticed_s": rough.noticed_s(),
        "slow_site_is_slower_by": statistics.median(rates[name] for name in HEALTHY) / max(rates[SLOW], 1e-9),
        "steps_taken": {name: site.step for name, site in rough.sites.items()},
        "exchanges": {n: s.measures[-1]["exchanges"] for n, s in rough.sites.items() if s.measures},
        "seconds": {"undisturbed": calm.ended - calm.began, "disturbed": rough.ended - rough.began},
        "kept": {
            f"merged accuracy within {POINTS} points of the undisturbed run": 100 * (undisturbed - merged) <= POINTS,
            "every living site holds the model": len(holding) == len(living) and spread < 1e-5,
            f"no stall of a healthy site over {STALL_S:g} s": longest <= STALL_S,
        },
    }


def points_of_missing_steps(run: Run) -> float:
    """What it costs by itself that some sites took fewer steps, in points: simulated, without outage, crash or liar."""

    def merged(speeds: list[float]) -> float:
        history = simulate(
            HERE / "hospital_task.py",
            agents=len(speeds),
            topology=TOPOLOGY,
            rounds=max(1, run.steps // EVERY),
            local_steps=EVERY,
            speeds=speeds,
            weigh=WEIGH,
            partition=run.partition,
            seed=run.seed,
            eval_every=run.steps,
            progress=False,
        )
        return float(history.consensus_accuracy[-1])

    speeds = [max(run.sites[name].step, EVERY) / run.steps for name in SITES]
    return 100 * (merged([1.0] * len(speeds)) - merged(speeds))


def shown(found: dict[str, Any]) -> str:
    """The report for people."""
    noticed, missing = found["crash_noticed_s"], found["points_of_missing_steps"]
    steps_alone = (
        f"by the steps alone that {SLOW} and {LIAR} did not take: {-missing:+.2f}, simulated" if missing else ""
    )
    lines = [
        "",
        f"merged model, undisturbed   accuracy {found['undisturbed_accuracy']:.4f}",
        f"merged model, disturbed     accuracy {found['merged_accuracy']:.4f}   ({-found['points_below']:+.2f} points)",
        *filter(None, [steps_alone]),
        f"holds it: {found['sites_with_the_model']} of {found['living_sites']} living sites, equal to "
        f"{found['models_differ_at_most_by']:.0e}; in it: {', '.join(found['in_the_model'])}",
        f"longest stall of a healthy site: {found['longest_stall_s']:.1f} s "
        f"(undisturbed {found['longest_stall_undisturbed_s']:.1f} s)",
        f"the crash was noticed by {len(noticed)} of the 3 it had left in reach, after "
        f"{min(noticed.values(), default=0):.1f} to {max(noticed.values(), default=0):.1f} s",
        f"{SLOW} was {found['slow_site_is_slower_by']:.0f} times slower",
        "steps      " + "  ".join(f"{name} {steps}" for name, steps in found["steps_taken"].items()),
        "exchanges  " + "  ".join(f"{name} {count}" for name, count in found["exchanges"].items()),
        "",
        *(f"{'kept  ' if kept else 'BROKEN'} {what}" for what, kept in found["kept"].items()),
    ]
    return "\n".join(lines)


def accuracy_of(paths: list[Path]) -> tuple[list[float], float]:
    """Of each model on the test data, and how far the models' coordinates differ at most."""

    judge = Judge(load_task(HERE / "hospital_task.py"))
    names = [parameter.name for parameter in judge.learner.spec]
    thetas = [np.concatenate([load_file(path)[name].ravel() for name in names]) for path in paths]
    spread = max((float(np.abs(theta - thetas[0]).max()) for theta in thetas), default=0.0)
    return [float(judge(theta)["accuracy"]) for theta in thetas], spread

"""The compromised site of `make hospitals`: it goes on under its name and key, in the protocol, with poison.

An `agents.Peer` as anybody can write one. It offers in turn the swarm's model times minus ten, and a model trained on
shifted labels, twenty times a second, always as of step 0: it claims to be far behind, so that others may rest for it,
and never finishes.

python benchmarks/hospital_liar.py CONFIG --join ADDRESS

CONFIG: the config.toml of the site that it was, whose key it has.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from agents import Peer, load_task
from agents.claim import last_start
from agents.config import from_toml
from agents.joining import shared, task_name
from agents.learning.data import batch_rows, labels_or_count, load_rows, shard_rows
from agents.learning.learner import make_learner
from agents.prepare import partition_of
from agents.settings import Gossiping, Learning, Placing, Securing

EVERY_S = 0.05
SHIFTED_STEPS = 150
"""Local steps on shifted labels, from what the swarm has learned."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--join", action="append", required=True)
    given = parser.parse_args()
    learning, gossiping, placing, securing = from_toml(given.config, Learning, Gossiping, Placing, Securing)
    task = load_task(learning.task)
    partition, labels, shard = partition_of(learning, task), labels_or_count(task.train_data), placing.shard
    rows = shard_rows(partition, labels, shard.shards, shard.index, learning.seed)
    data = load_rows(task.train_data, rows)
    data["y"] = (data["y"] + 1) % (data["y"].max() + 1)
    learner = make_learner(task, learning.optimizer, learning.learning_rate, learning.steps, seed=learning.seed)
    state = learner.init(learning.seed)
    last = last_start(given.config.parent)
    with Peer(
        state.params,
        task=task_name(learning.task),
        listen=placing.listen,
        advertise=placing.advertise,
        join=given.join,
        key=securing.key,
        trust=securing.trust,
        every=f"{EVERY_S}s",
        alpha=gossiping.alpha,
        topology=gossiping.topology,
        weight=float(len(rows)),
        seed=learning.seed,
        finish=gossiping.finish,
        name=placing.name,
        run=placing.run,
        incarnation=last.incarnation + 1 if last else None,
        shared={**shared(learning, gossiping, placing.shard), "rule": "parameters"},
        report={"shard": str(placing.shard), "step": 0, "steps": learning.steps},
    ) as peer:
        params = peer.meet(state.params)
        print(f"{peer.name}: took over the model of {len(peer.members)} members", flush=True)
        flipped = jax.tree.map(lambda leaf: -10 * leaf, params)
        state = learner.replace(state, np.asarray(learner.flatten(params)))
        batches = batch_rows(learning.seed, placing.shard.index, 0, SHIFTED_STEPS, task.batch_size, len(rows))
        for step in range(SHIFTED_STEPS):
            state, _ = learner.train(state, data, batches[step : step + 1], *map(np.int32, (placing.shard.index, step)))
        peer.publish("training")
        while not peer.asked_to_stop:
            for poison in (flipped, state.params):
                peer.boundary(poison, steps=0)
                time.sleep(EVERY_S)


if __name__ == "__main__":
    main()

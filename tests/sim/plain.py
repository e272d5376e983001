"""The dumbest way to run a tape: event by event, every version kept, in float64."""

import numpy as np

from sim.tape import TRAIN


def run_plain(tape, vectors, train=lambda vector, agent, step: vector):
    """(vectors of all versions, those that leave, snapshots (S, agents, P)). vectors: of the entering versions."""
    versions = [np.asarray(vector, np.float64) for vector in vectors]
    assert len(versions) == tape.entering
    for e in range(len(tape)):
        cur, a, b = (versions[read[e]] for read in (tape.cur, tape.a, tape.b))
        if tape.kind[e] != TRAIN:
            versions.append(cur + float(tape.coefficient[e]) * (b - a))
        else:
            versions.append(train(cur, int(tape.agent[e]), int(tape.step[e])))
    taken = [[versions[v] for v in row] for row in tape.snapshots]
    return versions, [versions[v] for v in tape.leaving], np.array(taken)


def run_blocks(blocks, vectors, train=lambda vector, agent, step: vector):
    """(current vectors of the agents at the end, (agents, P); snapshots of all blocks; what leaves the last one)."""
    agents, snapshots = len(vectors), []
    for block in blocks:
        block.tape.check()
        _, vectors, taken = run_plain(block.tape, vectors, train)
        snapshots.extend(taken)
    return np.array(vectors[:agents]), np.array(snapshots), vectors

"""Pairs of measurements that are made up, with the faults that real ones have."""

import math
import random

from sigbridge_bench.pair_statistics import Pair


def made(seed, *, ratio=1.0, generations=16, pairs=8, within=0.03, between=0.0, drift=0.0, spoiled=0.0):
    """Pairs of two builds: each scatters, each generation is off by its own, the machine drifts, some are spoiled."""
    chance = random.Random(seed)
    of = []
    for generation in range(generations):
        off = chance.gauss(0, between)
        of.append([])
        for turn in range(pairs):
            machine = 20e-6 * math.exp(drift * (generation * pairs + turn))
            a, b = (machine * math.exp(chance.gauss(0, within / math.sqrt(2))) for _ in "AB")
            if chance.random() < spoiled:
                a *= 3
            of[-1].append(Pair(a, b * ratio * math.exp(off)))
    return of

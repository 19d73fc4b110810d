"""What a client does on a Dask cluster whose workers it cannot reach; it prints what came of it."""

import json
import logging
import os
import signal
import sys
import time

import numpy as np

import parallactic as plx

PATIENCE = 60.0
LARGE = 500_000


def append(number: int) -> None:
    plx.namespace().setdefault("seen", []).append(number)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def whole(values: np.ndarray) -> np.ndarray:
    return values * 2.0


def main() -> None:
    address, shared = sys.argv[1], sys.argv[2] == "shared"
    logging.basicConfig(level=logging.INFO)
    begun = time.monotonic()
    with plx.Executor("dask", scheduler=address, shared_memory=shared) as ex:
        told = {"squares": [ex.submit(pow, n, 2).result(PATIENCE) for n in range(5)]}
        lane = ex.target(0)
        for number in range(200):
            lane.submit(append, number)
        told["in order"] = lane.pull("seen").result(PATIENCE) == list(range(200))
        values = np.arange(LARGE, dtype=float)
        kept = ex.submit(whole, values)
        told["sum"] = ex.submit(np.sum, kept).result(PATIENCE)
        told["same"] = bool(np.array_equal(kept.result(PATIENCE), values * 2.0))
        told["on a target"] = lane.submit(np.sum, kept).result(PATIENCE)
        died = time.monotonic()
        told["death"] = type(lane.submit(die).exception(PATIENCE)).__name__
        told["seconds to know"] = time.monotonic() - died
        told["after"] = ex.target(0).submit(pow, 2, 5).result(PATIENCE)
        rounds = time.monotonic()
        for _ in range(20):
            ex.target(1).submit(pow, 2, 5).result(PATIENCE)
        told["round"] = (time.monotonic() - rounds) / 20
        told["workers"] = len([w for w in ex.status().workers if w.state in ("idle", "busy")])
    told["seconds"] = time.monotonic() - begun
    print(json.dumps(told))


if __name__ == "__main__":
    main()

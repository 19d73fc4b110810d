"""The Executor in a minute. PARALLACTIC_BACKEND=serial python first_steps.py chooses the backend."""

import numpy as np

import parallactic as plx


def power(scan: int) -> float:
    noise = np.random.default_rng(scan).standard_normal(100_000)
    return float(np.mean(noise**2))


with plx.Executor(workers=2) as ex:
    # One task, many tasks, results in order.
    print("scan 1:", ex.submit(power, 1).result())
    print("scans 0 to 9:", [round(value, 3) for value in ex.map(power, range(10))])

    # Futures as arguments: the sum runs when its inputs are there, and they never come to this process.
    halves = [ex.submit(np.full, 1_000_000, value) for value in (1.0, 2.0)]
    total = ex.submit(lambda arrays: float(sum(a.sum() for a in arrays)), halves).result()
    assert total == 3_000_000

    # A large array is sent to each worker once.
    sky = ex.put(np.ones((1024, 1024)))
    assert ex.gather([ex.submit(np.sum, sky) for _ in range(8)]) == [1024**2] * 8

    # Failures keep their type; others go on.
    outcomes = ex.gather([ex.submit(divmod, 7, n) for n in (2, 0)], errors="return")
    assert outcomes[0] == (3, 1)
    assert isinstance(outcomes[1], ZeroDivisionError)

    print(ex.status())

"""100 tasks on 20 workers: a pool of SLURM jobs that a script asks for while it runs.

    python hundred_tasks.py slurm                   # on a login node: 20 jobs of one worker each
    python hundred_tasks.py                         # the same tasks on the backend of PARALLACTIC_BACKEND
    python hundred_tasks.py slurm 4 0.1             # fewer workers, shorter tasks (s)

Each job is a Dask worker. A job that ends too early is replaced; without a walltime of your own none is
submitted, since the default of a cluster is seldom the right one.
"""

import sys
import time

import parallactic as plx

where = sys.argv[1] if len(sys.argv) > 1 else "here"
workers = int(sys.argv[2]) if len(sys.argv) > 2 else 20
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5.0


def task(number: int) -> tuple[int, int]:
    time.sleep(seconds)
    return number, plx.worker().id


if where == "slurm":
    pool = plx.Executor("dask", cluster="slurm", workers=workers, cores=1, memory="1GB", walltime="00:10:00")
else:
    pool = plx.Executor(workers=workers)

with pool as ex:
    begin = time.monotonic()
    futures = [ex.submit(task, number) for number in range(100)]
    results = ex.gather(futures)
    used = {worker for _, worker in results}
    assert [number for number, _ in results] == list(range(100))
    print(f"100 tasks of {seconds:g} s on {len(used)} workers: {time.monotonic() - begin:.1f} s")

"""The Executor where a library takes one: asyncio, concurrent.futures, dask, joblib."""

import asyncio
from concurrent.futures import as_completed

import dask.array as da
import joblib

import parallactic as plx
import parallactic.integrations.joblib  # registers the joblib backend "parallactic"
from parallactic.integrations.dask import dask_get


async def main(ex: plx.Executor) -> list[int]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*[loop.run_in_executor(ex, pow, n, 2) for n in range(5)])


with plx.Executor(workers=2) as ex:
    assert asyncio.run(main(ex)) == [0, 1, 4, 9, 16]

    futures = [ex.submit(pow, n, 3) for n in range(5)]
    assert sorted(future.result() for future in as_completed(futures)) == [0, 1, 8, 27, 64]

    visibilities = da.ones((400, 64), chunks=(100, 64))
    mean = visibilities.mean(axis=0)
    assert (mean.compute(scheduler=dask_get(ex)) == 1).all()  # chunks stay with the workers
    assert (mean.compute(scheduler=ex) == 1).all()  # by dask's own loop, through this process

    with joblib.parallel_config(backend="parallactic", executor=ex):
        assert joblib.Parallel()(joblib.delayed(pow)(n, 2) for n in range(5)) == [0, 1, 4, 9, 16]
    print("asyncio, as_completed, dask and joblib ran on", ex)

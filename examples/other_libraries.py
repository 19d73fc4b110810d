"""The Executor where a library takes one: asyncio, concurrent.futures and dask."""

import asyncio
from concurrent.futures import as_completed

import dask.array as da

import parallactic as plx


async def main(ex: plx.Executor) -> list[int]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*[loop.run_in_executor(ex, pow, n, 2) for n in range(5)])


with plx.Executor(workers=2) as ex:
    assert asyncio.run(main(ex)) == [0, 1, 4, 9, 16]

    futures = [ex.submit(pow, n, 3) for n in range(5)]
    assert sorted(future.result() for future in as_completed(futures)) == [0, 1, 8, 27, 64]

    visibilities = da.ones((400, 64), chunks=(100, 64))
    mean = visibilities.mean(axis=0)
    assert (mean.compute(scheduler=ex) == 1).all()
    print("asyncio, as_completed and dask ran on", ex)

"""CASA tasks and tools on servers: the four examples of CASA's mpi4casa guide, for the CASA of today.

    python examples/casa/tasks.py my.ms

The guide's `imager` tool is gone from CASA 6; `ms` stands here for any tool that a server keeps open.
"""

import sys

from parallactic.casa import enable

enable(workers=2)

from casampi.MPICommandClient import MPICommandClient  # noqa: E402

vis = sys.argv[1]
client = MPICommandClient()
client.start_services()

# 1: a task whose parameters stand in the command.
(response,) = client.push_command_request(f"flagdata(vis={vis!r}, mode='summary')", True, [1])
print(f"{response['ret']['flagged']:.0f} of {response['ret']['total']:.0f} are flagged")

# 2: a task whose parameters are a dict.
parameters = {"vis": vis, "mode": "rflag", "flagbackup": False}
(response,) = client.push_command_request("flagdata()", True, [2], parameters)
assert response["successful"], response["traceback"]

# 3: a tool on every server; it stays there.
client.push_command_request("from casatools import ms; mine = ms()", True, [1, 2])

# 4: the tool opens the set, on every server.
responses = client.push_command_request("mine.open(vis)", True, [1, 2], {"vis": vis})
assert all(response["ret"] for response in responses)
print([response["ret"] for response in client.push_command_request("mine.nrow()", True, [1, 2])], "rows")
client.push_command_request("mine.done()", True, [1, 2])

client.stop_services()

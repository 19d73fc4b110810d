"""Two observations at once, without a multi-MS: both examples of CASA's page on parallelisation, corrected.

    python examples/casa/two_observations.py first.ms second.ms

The page's strings had typographic quotes and its dict no valid syntax; its `wvrgcal` needs water vapour
radiometers, so that `gaincal` stands here; and it read cells by the `ms` tool, which has no `getcell`.
"""

import sys

from parallactic.casa import enable

enable(workers=2)

from casampi.MPICommandClient import MPICommandClient  # noqa: E402

first, second = sys.argv[1:]
client = MPICommandClient()
client.set_log_mode("redirect")
client.start_services()

# 1: one task for each, on whichever server is free.
one = client.push_command_request(f"gaincal(vis={first!r}, caltable='first.cal', refant='0', minsnr=0)")
parameters = {"vis": second, "caltable": "second.cal", "refant": "0", "minsnr": 0}
two = client.push_command_request("gaincal()", parameters=parameters)
for response in client.get_command_response([one, two], block=True):
    assert response["successful"], response["traceback"]
    print(response["command"], "on server", response["server"])

# 2: a median filter over channels, on the servers' own tools. Each command needs the one before: a server
# runs them in the order in which they were sent, so that only the last has to block.
both = [1, 2]
client.push_command_request("from casatools import table; tb = table()", target_server=both)
client.push_command_request(f"tb.open({first!r}, nomodify=False)", target_server=1)
client.push_command_request(f"tb.open({second!r}, nomodify=False)", target_server=2)
client.push_command_request("data = tb.getcell('DATA', 1)", target_server=both)
client.push_command_request("from scipy.signal import medfilt", target_server=both)
client.push_command_request(
    "filtered = medfilt(data.real, (1, 3)) + 1j * medfilt(data.imag, (1, 3))", target_server=both
)
client.push_command_request("tb.putcell('DATA', 1, filtered)", target_server=both)
for response in client.push_command_request("tb.close()", True, both):
    assert response["successful"], response["traceback"]

client.stop_services()

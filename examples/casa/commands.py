"""Commands to servers: the twelve examples of CASA's mpi4casa guide, with server ranks as they are today.

    python examples/casa/commands.py

The client is rank 0 and the servers are 1 to N. The guide's [0, 1] is from a time when the client came last.
"""

from parallactic.casa import enable

enable(workers=3, tasks=False)  # no command below needs CASA

from mpi4casa.MPICommandClient import MPICommandClient  # noqa: E402

client = MPICommandClient()
client.start_services()

number = 0
for command, parameters, result in (("1+1", None, 2), ("a+b", {"a": 1, "b": 2}, 3)):
    # 1 to 3, and 7 to 9 with the parameters in a dict: blocking, on any server, one server, several.
    for target in (None, [1], [1, 2]):
        responses = client.push_command_request(command, True, target, parameters)
        assert [response["ret"] for response in responses] == [result] * len(target or [0])
        number += 1
        print(f"{number}: {command} on", [f"server {response['server']}" for response in responses])

    # 4 to 6, and 10 to 12: not blocking; what is there already, then all of it.
    for target in (None, [1], [1, 2]):
        ids = client.push_command_request(command, False, target, parameters)
        early = client.get_command_response(ids, False, True)
        responses = client.get_command_response(ids, True, True)
        assert len(early) <= len(responses) == len(target or [0])
        assert all(response["ret"] == result for response in responses)
        number += 1
        print(f"{number}: {command} is request", ids)

# An exception is an answer like any other.
(response,) = client.push_command_request("1/0", True, [1])
assert not response["successful"]
print(response["traceback"])

client.stop_services()

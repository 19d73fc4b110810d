"""The entry of a worker: ``python -m parallactic.worker SOCKET KEYFILE WORKER EPOCH LOG``.

This process becomes the supervisor; its child, forked before anything large is imported, runs the tasks.
"""

from __future__ import annotations

import sys

from parallactic.worker.supervisor import Supervisor

if __name__ == "__main__":
    address, key_file, number, epoch, log = sys.argv[1:]
    sys.exit(Supervisor(address, key_file, int(number), int(epoch), log).run())

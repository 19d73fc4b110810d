"""Run some of casampi's own tests against our stand-in: ``run_casampi.py BACKEND TASKS FOLDER NAME...``.

TASKS is "tasks" if the servers are to import CASA. FOLDER holds the unpacked wheel. Writes outcome.json: how
many ran, and what those said that did not pass.
"""

import importlib.util
import json
import os
import sys
import unittest
from pathlib import Path

from parallactic.casa import enable

# The tests count hosts only if several processes share one, and ask Open MPI's launcher.
os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] = "3"

if __name__ == "__main__":
    backend, tasks, folder, *names = sys.argv[1:]
    # They expect that a server whose interpreter is blocked times out; casampi waits 42 s for that.
    enable(backend=backend, workers=2, silence=4, tasks=tasks == "tasks")
    place = Path(folder) / "casampi" / "tests" / "test_casampi.py"
    spec = importlib.util.spec_from_file_location("test_casampi", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules["test_casampi"] = module
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromNames(names, module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    problems = {
        case.id().removeprefix("test_casampi."): told
        for case, told in (*result.failures, *result.errors, *result.skipped)
    }
    Path("outcome.json").write_text(json.dumps({"ran": result.testsRun, "not passed": problems}))

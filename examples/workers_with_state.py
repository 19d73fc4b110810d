"""Workers that keep state: open a tool on each, use it in order, rebuild it on replacements."""

import parallactic as plx


def open_tool() -> None:
    plx.namespace()["tool"] = []


def use_tool(scan: int) -> int:
    tool = plx.namespace()["tool"]
    tool.append(scan)
    return len(tool)


with plx.Executor(workers=2) as ex:
    ex.setup(open_tool).result()  # on every worker, and again on one that replaces another

    first = ex.target(0)
    assert ex.gather([first.submit(use_tool, scan) for scan in (3, 1, 2)]) == [1, 2, 3]
    assert first.run("tool").result() == [3, 1, 2]  # strict order

    everywhere = ex.target("all")
    everywhere.push(refant="ea05")
    assert everywhere.run("refant.upper()").result() == ["EA05", "EA05"]
    print(ex.status())

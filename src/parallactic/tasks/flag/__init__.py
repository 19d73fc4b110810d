"""Flag bad data: ``flag(vis, mode=...)``, and its ``flag.versions``, ``flag.save``, ``flag.restore``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, ParamSpec, Protocol, TypeVar, Unpack, cast

from pydantic import Field

from parallactic.kernels.flagging.quack import QuackMode
from parallactic.kernels.flagging.tfcrop import Dimension, FitKind, TfcropParameters, WindowStats
from parallactic.measurementset import MeasurementSet, Selection
from parallactic.measurementset.flagversions import (
    FlagVersion,
    next_name,
    require_writable_versions,
    save_version,
)
from parallactic.tasks.base import ExecutorLike, SelectionParameters, signature_of, task, using
from parallactic.tasks.flag.parameters import (
    Action,
    Cutoff,
    DataColumn,
    FlagParameters,
    Mode,
    Share,
    check_call,
    seconds,
)
from parallactic.tasks.flag.plan import block_units, check_products, masks, quack_rows, row_units
from parallactic.tasks.flag.run import flag_found, flag_rows, unflagged
from parallactic.tasks.flag.saved import restore, save, versions
from parallactic.tasks.flag.summary import FlagSummary, Limits, named_counts
from parallactic.tasks.flag.work import Outcome, clip_rows, find_blocks
from parallactic.tasks.quantity import Duration, quantity

__all__ = ["FlagSummary", "FlagVersion", "flag", "restore", "save", "versions"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class _WithVersions(Protocol[P, R]):
    """A task that carries what goes with flag versions."""

    versions: Callable[[str], list[FlagVersion]]
    save: Callable[..., FlagVersion]
    restore: Callable[[str, str], None]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


def _with_versions(function: Callable[P, R]) -> _WithVersions[P, R]:
    whole = cast("_WithVersions[P, R]", function)
    whole.versions, whole.save, whole.restore = versions, save, restore
    return whole


def _check(**given: Any) -> None:
    parameters = signature_of(flag).parameters.values()
    check_call({item.name: item.default for item in parameters}, given)


@_with_versions
@task(check=_check)
def flag(
    vis: str,
    mode: Mode = "manual",
    *,
    datacolumn: DataColumn = "DATA",
    action: Action = "apply",
    flagbackup: bool = True,
    autocorr: bool = False,
    clipminmax: Sequence[float] = (),
    clipoutside: bool = True,
    clipzeros: bool = False,
    quackinterval: Duration = 1.0,
    quackmode: QuackMode = "beg",
    quackincrement: bool = False,
    ntime: Literal["scan"] | Duration = "scan",
    combinescans: bool = False,
    timecutoff: Cutoff = 4.0,
    freqcutoff: Cutoff = 3.0,
    timefit: FitKind = "line",
    freqfit: FitKind = "poly",
    maxnpieces: Annotated[int, Field(ge=1, le=9)] = 7,
    flagdimension: Dimension = "freqtime",
    usewindowstats: WindowStats = "none",
    halfwin: Annotated[int, Field(ge=1, le=3)] = 1,
    extendflags: bool = True,
    name: str = "Summary",
    spwchan: bool = False,
    spwcorr: bool = False,
    basecnt: bool = False,
    fieldcnt: bool = False,
    minrel: Share = 0.0,
    maxrel: Share = 1.0,
    minabs: Annotated[int, Field(ge=0)] = 0,
    maxabs: int = -1,
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> FlagSummary:
    """Flag bad data, unflag, or count flags.

    A parameter belongs to the mode that its text names first; one that belongs to another mode is an error.
    What counts as flagged is FLAG or FLAG_ROW; rows whose flags change get FLAG_ROW = all(FLAG), so that
    unflagging clears it.

    Parameters
    ----------
    vis
        A MeasurementSet or a multi-MS.
    mode
        manual flags the selection, unflag unflags it, clip flags by value, quack the ends of scans, tfcrop
        finds outliers of the time-frequency plane, summary counts.
    datacolumn
        clip, tfcrop: DATA, CORRECTED, MODEL, RESIDUAL (corrected − model) or RESIDUAL_DATA (data − model).
    action
        apply, or calculate: report what would be flagged and write nothing.
    flagbackup
        Save the flags as a version before they are changed.
    autocorr
        manual: flag only the autocorrelations of the selection.
    clipminmax
        clip: the range [least, greatest]; the limits belong to it. Empty: only what is no number.
    clipoutside
        clip: flag outside the range, else inside it.
    clipzeros
        clip: flag what is exactly zero, too.
    quackinterval
        quack: the length flagged or kept, in s, or with a unit.
    quackmode
        quack: beg flags the beginning of each scan, endb its end, tail all but the beginning, end all but the
        end.
    quackincrement
        quack: count from the first (last) unflagged data rather than from the bounds of the scan.
    ntime
        tfcrop: length of the planes in time: scan, or a number of s, or with a unit.
    combinescans
        tfcrop: let a plane hold several scans of a field.
    timecutoff
        tfcrop: flag beyond this many sigma from the fit along time.
    freqcutoff
        tfcrop: likewise along frequency.
    timefit
        tfcrop: what is fitted along time, a robust line, or a polynomial in pieces.
    freqfit
        tfcrop: likewise along frequency.
    maxnpieces
        tfcrop: the most pieces of a polynomial, 1 to 9.
    flagdimension
        tfcrop: the axes, in this order.
    usewindowstats
        tfcrop: flag also where the mean (sum) or the spread (std) of a sliding window exceeds half the
        cutoff.
    halfwin
        tfcrop: half the width of that window, 1 to 3.
    extendflags
        tfcrop: extend to all correlations, to all times of a channel flagged for half of them or more, and to
        all channels of a time flagged in 80 % of them or more.
    name
        summary: what it is called.
    spwchan
        summary: count by channel, too.
    spwcorr
        summary: count by correlation of each spw, too.
    basecnt
        summary: count by baseline, and by antenna and scan, too.
    fieldcnt
        summary: repeat all counts for each field.
    minrel, maxrel
        summary: leave out entries with a smaller (greater) fraction flagged.
    minabs, maxabs
        summary: leave out entries with fewer (more) samples flagged; a negative maxabs is no limit.
    executor
        Where the work is done: an executor, the name of a backend, or None for the configured one.
    correlation
        Correlations: 'RR,LL'. For clip and tfcrop what is judged: 'ABS_ALL' (the default), 'REAL_RR,LL',
        'ABS_I', with ABS, REAL, IMAG, ARG (radians) or NORM.

    Returns
    -------
    FlagSummary
        The flags of the selected data after; ``.casa()`` gives CASA's dictionary.

    Raises
    ------
    InvalidSpec
        If there is no such set, column, field and so on, a parameter cannot be, or nothing may be written.
    StepFailed
        If units of the work failed; their names are in it.
    """
    ms = MeasurementSet(vis)
    by_expression = mode in ("clip", "tfcrop")
    parameters = FlagParameters(
        mode=mode,
        action=action,
        datacolumn=datacolumn,
        correlation=selection.pop("correlation", "") if by_expression else "",
        clipminmax=(clipminmax[0], clipminmax[1]) if clipminmax else None,
        clipoutside=clipoutside,
        clipzeros=clipzeros,
        extendflags=extendflags,
        tfcrop=TfcropParameters(
            timecutoff, freqcutoff, timefit, freqfit, maxnpieces, flagdimension, usewindowstats, halfwin
        ),
        details=_details(spwchan, spwcorr, basecnt, fieldcnt),
    )
    ms.require("FLAG", "FLAG_ROW", *parameters.columns)
    if parameters.writes:
        ms.require_writable()
        if flagbackup:
            require_writable_versions(ms)
    selected = ms.select(Selection(**selection))
    chosen = masks(ms, selected, by_expression)
    check_products(ms, chosen, parameters)
    rows = selected.rows
    if autocorr:
        rows = rows[ms.index.antenna1[rows] == ms.index.antenna2[rows]]
    products = []
    with using(executor) as ex:
        if parameters.writes and flagbackup and len(rows):
            products.append(str(save_version(ms, next_name(ms, "flag"), f"before flag mode={mode}")))
        if mode == "tfcrop":
            units = block_units(ms, rows, seconds(ntime), combinescans)
            outcome = flag_found(ex, ms, find_blocks, units, parameters, chosen)
        elif mode == "clip":
            outcome = flag_found(ex, ms, clip_rows, row_units(ms, rows), parameters, chosen)
        else:
            judged = rows
            if mode == "quack":
                start = unflagged(ex, ms, rows) if quackincrement else None
                judged = quack_rows(ms, rows, quantity(quackinterval, "time"), quackmode, start)
            outcome = flag_rows(ex, ms, rows, judged, parameters, chosen)
    return _result(ms, outcome, parameters, Limits(minrel, maxrel, minabs, maxabs), name, products)


def _details(spwchan: bool, spwcorr: bool, basecnt: bool, fieldcnt: bool) -> frozenset[str]:
    asked = {"channel": spwchan, "correlation": spwcorr, "baseline": basecnt, "field": fieldcnt}
    return frozenset(name for name, wanted in asked.items() if wanted)


def _result(
    ms: MeasurementSet,
    outcome: Outcome,
    parameters: FlagParameters,
    limits: Limits,
    name: str,
    products: list[str],
) -> FlagSummary:
    flagged, total = outcome.tally.totals
    warnings = []
    if not total:
        warnings.append("The selection fits no data; nothing was done.")
    if outcome.by_row:
        warnings.append(
            f"FLAG_ROW flags {outcome.by_row:,} more samples whose FLAG is not set; they are not counted."
        )
    if parameters.action == "calculate" and parameters.mode != "summary":
        warnings.append("Nothing was written: action='calculate'.")
    return FlagSummary(
        mode=parameters.mode,
        name=name,
        flagged=flagged,
        total=total,
        changed=outcome.changed,
        counts={"flagged": flagged, "total": total, "changed": outcome.changed},
        axes=named_counts(ms, outcome.tally, limits),
        by_field={
            ms.fields[number].name or str(number): named_counts(ms, part, limits)
            for number, part in sorted(outcome.tally.fields.items())
        },
        products=products,
        warnings=warnings,
    )

"""A run in words: for the terminal, and the same facts for the report page."""

from collections.abc import Iterator

from distres.report.record import RunRecord

# Column heads and the keys of `statistics`; all but the last are in angstrom.
COLUMNS = (
    ("median", "median"),
    ("5 %", "p5"),
    ("25 %", "p25"),
    ("75 %", "p75"),
    ("95 %", "p95"),
    ("resolved", "fraction_resolved"),
)


def table_rows(record: RunRecord) -> Iterator[tuple[str, ...]]:
    """Yield threshold, percentiles in angstrom, and the resolved share, for every threshold."""
    for threshold in record.thresholds:
        numbers = record.statistics.get(threshold, {})
        yield (
            threshold,
            *(_number(numbers.get(key), share=key == "fraction_resolved") for _, key in COLUMNS),
        )


def _number(value: object, *, share: bool) -> str:
    if not isinstance(value, int | float) or value != value:
        return "-"
    return f"{100 * value:.1f} %" if share else f"{value:.2f}"


def summary_text(record: RunRecord) -> str:
    """Return what a terminal shows when a run has ended.

    Parameters
    ----------
    record
        A finished run.
    """
    heads = ("threshold", *(head for head, _ in COLUMNS))
    rows = [heads, *table_rows(record)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = [f"{record.method}: local resolution in the mask (angstrom)"]
    lines += [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    for warning in record.warnings:
        lines.append(f"warning: {warning}")
    lines.append(f"results in {record.directory}:")
    lines += [f"  {name}: {path}" for name, path in record.outputs.items()]
    return "\n".join(lines)

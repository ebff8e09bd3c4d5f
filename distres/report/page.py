"""The report: one HTML file that holds everything, pictures included."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from distres.report.record import RunRecord
from distres.report.summary import COLUMNS, table_rows

# Shown in every report; methods add their own under the record's key `citations`.
CITATIONS = (
    "Kucukelbir, Sigworth, Tagare: Quantifying the local resolution of cryo-EM density maps. "
    "Nature Methods 11, 63 (2014).",
    "Cardone, Heymann, Steven: One number does not fit all: mapping local variations in "
    "resolution in cryo-EM reconstructions. Journal of Structural Biology 184, 226 (2013).",
)

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right;
  border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; } td.text { text-align: left; }
td { overflow-wrap: anywhere; } img { max-width: 100%; }
.warning { border-left: .3rem solid #d08a00; background: #fff7e6; padding: .4rem .8rem;
  margin: .4rem 0; }
footer { margin-top: 3rem; color: #666; font-size: .85rem; }
@media print { h2 { break-after: avoid; } img { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$title</h1>
$warnings
<h2>Local resolution in the mask (Å)</h2>
$table
$pictures
<h2>Parameters</h2>
$parameters
<h2>Inputs</h2>
$inputs
<h2>Files</h2>
$outputs
<h2>To cite</h2>
$citations
<footer>$footer</footer>
</body>
</html>
""")


def report_html(record: RunRecord, pictures: Sequence[tuple[str, Path]]) -> str:
    """Return the report of a finished run; whatever comes from files is escaped.

    Parameters
    ----------
    record
        The run.
    pictures
        Captions and files (SVG or PNG), which become part of the page.
    """
    raw = record.raw
    citations = [*map(str, raw.get("citations", ())), *CITATIONS]
    cost = raw.get("cost", {})
    footer = [f"distres {raw.get('version', '')}"]
    if cost:
        footer.append(f"{cost.get('started', '')}, {cost.get('wall_seconds', '?')} s")
    if raw.get("argv"):
        footer.append(" ".join(map(str, raw["argv"])))
    return _PAGE.substitute(
        title=escape(f"{record.stem}: {record.method}"),
        warnings="\n".join(f'<p class="warning">{escape(line)}</p>' for line in record.warnings),
        table=_table(("threshold", *(head for head, _ in COLUMNS)), list(table_rows(record))),
        pictures="\n".join(_picture(caption, path) for caption, path in pictures),
        parameters=_pairs(_flat(raw.get("parameters", {}))),
        inputs=_pairs(_flat(raw.get("inputs", {}))),
        outputs=_pairs(record.outputs),
        citations="<ul>" + "".join(f"<li>{escape(line)}</li>" for line in citations) + "</ul>",
        footer=escape(" | ".join(footer)),
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _pairs(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="text">{escape(str(value))}</td></tr>'
        for name, value in values.items()
    )
    return f"<table><tbody>{rows}</tbody></table>" if rows else "<p>not recorded</p>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested objects into dotted names; lists are written as they are."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _picture(caption: str, path: Path) -> str:
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    # As data, not as inline SVG: a browser runs no script of an image.
    data = base64.b64encode(path.read_bytes()).decode()
    text = escape(caption, quote=True)
    return f'<h2>{text}</h2>\n<img alt="{text}" src="data:{kind};base64,{data}">'

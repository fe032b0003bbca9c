"""Tables and texts of a report, as plain text for a terminal, as Markdown and as HTML."""

import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from sigbridge_bench import plots
from sigbridge_bench.figures import OURS

WIDTH = 120
"""Columns of a terminal that a table never exceeds."""


class Table(NamedTuple):
    """A table of a section."""

    caption: str
    head: Sequence[str]
    words: int
    """Number of columns, from the first, that hold words; the others hold figures."""
    rows: Sequence[Sequence[str]]


def terminal_text(text: str) -> str:
    """Returns a paragraph in lines of at most 100 columns, without Markdown's marks."""
    return "\n".join(textwrap.wrap(re.sub(r"[`*]", "", text), 100, subsequent_indent="  ", break_on_hyphens=False))


def terminal_table(of: Table) -> str:
    """Returns a table in plain text of at most 120 columns; too wide cells are wrapped."""
    gap = 2
    columns = [[head, *(row[at] for row in of.rows)] for at, head in enumerate(of.head)]
    least = [max(len(word) for text in column for word in text.split() or [""]) for column in columns]
    # Heads are broken first, to what their figures need; then whatever column is widest gives way.
    body = [max([0, *map(len, column[1:])]) for column in columns]
    widths = [max(needed, word, min(len(head), 14)) for needed, word, head in zip(body, least, of.head, strict=True)]
    while sum(widths) + gap * (len(widths) - 1) > WIDTH:
        breakable = [at for at in range(len(widths)) if widths[at] > least[at]]
        # Words that are longer than the room for them are cut into pieces.
        room = [at for at in breakable if widths[at] > body[at]] or breakable or list(range(len(widths)))
        widths[max(room, key=lambda at: widths[at])] -= 1

    def lines(cells: Sequence[str]) -> list[str]:
        """Returns the lines of one row, its cells wrapped to their columns' widths."""
        wrapped = [
            textwrap.wrap(cell, width, break_on_hyphens=False) for cell, width in zip(cells, widths, strict=True)
        ]
        made = []
        for at in range(max(map(len, wrapped))):
            pieces = [cell[at] if at < len(cell) else "" for cell in wrapped]
            made.append(
                (" " * gap)
                .join(
                    piece.ljust(widths[column]) if column < of.words else piece.rjust(widths[column])
                    for column, piece in enumerate(pieces)
                )
                .rstrip()
            )
        return made

    ruled = (" " * gap).join("-" * width for width in widths)
    shown = [*lines(of.head), ruled]
    above: Sequence[str] = ()
    for row in of.rows:
        repeated = 0
        while repeated < min(of.words - 1, len(above)) and row[repeated] == above[repeated]:
            repeated += 1
        shown += lines([*[""] * repeated, *row[repeated:]])
        above = row
    return "\n".join([*([of.caption] if of.caption else []), *shown])


def one_line(text: str) -> str:
    """Returns a text without line breaks, and with one blank between words."""
    return " ".join(text.split())


def markdown_list(facts: dict[str, str]) -> str:
    """Returns names and values as a list of Markdown."""
    return "\n".join(f"- {name}: {one_line(value)}" for name, value in facts.items())


def markdown_table(of: Table) -> str:
    """Returns a table in Markdown, without its caption."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(one_line(cell).replace("|", r"\|") for cell in cells) + " |"

    marks = ["---" if at < of.words else "---:" for at in range(len(of.head))]
    return "\n".join([row(of.head), f"|{'|'.join(marks)}|", *(row(cells) for cells in of.rows)])


def html_text(text: str) -> str:
    """Returns a text with Markdown's marks as HTML, escaped."""
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", shown)


def html_table(of: Table) -> str:
    """Returns a table in HTML, with its caption, in a region that scrolls by itself."""

    def cells(row: Sequence[str]) -> str:
        """Returns the cells of one row in HTML, the words as headings."""
        made = []
        for at, cell in enumerate(row):
            if at < of.words:
                made.append(f'<th scope="row">{escape(cell)}</th>')
            else:
                made.append(f"<td>{escape(cell)}</td>")
        return "".join(made)

    head = "".join(
        f'<th scope="col"{"" if at < of.words else " class=figure"}>{escape(text)}</th>'
        for at, text in enumerate(of.head)
    )
    rows = "\n".join(
        f"<tr{' class=ours' if any(cell in OURS for cell in row[: of.words]) else ''}>{cells(row)}</tr>"
        for row in of.rows
    )
    caption = f"<caption>{escape(of.caption)}</caption>" if of.caption else ""
    label = escape(of.caption or ", ".join(of.head))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>{caption}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


PAGE_STYLE = f"""
:root {{
  color-scheme: light dark;
  --ground: #ffffff; --ink: #1f2328; --quiet: #57606a; --rule: #d8dde3; --shade: #f4f6f8; --link: #0a58a8;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --ground: #12161c; --ink: #e6e9ee; --quiet: #a3adb8; --rule: #343b45; --shade: #1b2129; --link: #7fbdf5;
  }}
}}
* {{ box-sizing: border-box; }}
body {{
  margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 74rem;
  background: var(--ground); color: var(--ink); font: 1rem/1.55 {plots.FONT};
}}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }}
h2 {{ font-size: 1.35rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--rule); }}
h3 {{ font-size: 1.05rem; margin: 1.5rem 0 .25rem; }}
p, dl, li {{ max-width: 46rem; }}
a {{ color: var(--link); }}
nav ul {{ display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1rem 0 0; padding: 0; }}
nav li {{ max-width: none; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; }}
dt {{ color: var(--quiet); }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
code {{ font-size: .92em; }}
figure {{ margin: 1.25rem 0; }}
.scroll {{ overflow-x: auto; }}
.scroll:focus-visible, a:focus-visible {{ outline: 2px solid var(--link); outline-offset: 2px; }}
.plot {{ display: block; width: 100%; max-width: 60rem; height: auto; min-width: 40rem; }}
table {{ border-collapse: collapse; margin: 1rem 0 1.5rem; font-size: .9rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding: .25rem 0; }}
th, td {{ padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); text-align: left; white-space: nowrap; }}
thead th {{ color: var(--quiet); font-weight: 500; white-space: normal; vertical-align: bottom; }}
tbody th {{ font-weight: 400; }}
td, .figure {{ text-align: right; padding: .3rem 0 .3rem 1rem; }}
.ours {{ background: var(--shade); }}
@media (max-width: 34rem) {{ dl {{ grid-template-columns: 1fr; }} dd {{ margin-bottom: .5rem; }} }}
""".strip()

"""What a run says, as text for a terminal, as Markdown and as one page of HTML.

All three show the same sections with the same tables: a section is made once, out of the records, and rendered thrice.
What was not measured has no section.
"""

import re
import textwrap
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from sigbridge_bench import figures, plots
from sigbridge_bench.figures import (
    CALL_MESSAGES,
    FLOOR,
    NOTHING,
    OURS,
    TIMES,
    Cell,
    Figures,
    Key,
    Measure,
    Spread,
    amounts_text,
    heading,
    keys,
    number,
    plain,
    ratio_in_report,
    spread,
    way_text,
)
from sigbridge_bench.header_blocks import USUAL
from sigbridge_bench.records import Record, Run

WIDTH = 120
"""Columns of a terminal that a table never exceeds."""
BUSY = 0.85
"""From this share of one core on, a process counts as what limited a measurement."""


class Table(NamedTuple):
    """A table of a section."""

    caption: str
    head: Sequence[str]
    words: int
    """How many columns, from the first, hold words; the others hold figures."""
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A part of the report."""

    name: str
    title: str
    says: Sequence[str]
    """Paragraphs: what was measured, and how."""
    tables: Sequence[Table]
    found: str = ""
    """What came of it, where tables do not say it."""


def table(records: Sequence[Record]) -> str:
    """The tables of one run for a terminal, of at most 120 columns; raises `ValueError` for several runs."""
    run = heading(records)
    parts = [f"Run of {run.run or 'unknown date'}, commit {run.commit or 'unknown'}"]
    parts += [terminal_text(f"{name}: {value}") for name, value in _machine(run).items()]
    parts += [terminal_text(f"left out: {text}") for text in run.left_out]
    parts += ["", terminal_text(_READING), terminal_text(_RATIOS)]
    for section in sections(records):
        parts += ["", section.title.upper()]
        for each in section.tables:
            parts += ["", terminal_table(each)]
        if section.found:
            parts += ["", terminal_text(section.found)]
    return "\n".join(parts) + "\n"


def markdown(records: Sequence[Record], plots_folder: Path | None) -> str:
    """One run as a page of Markdown; raises `ValueError` for several runs.

    Links to the plots in `plots_folder` are made for a page that lies beside that folder.
    """
    run = heading(records)
    drawn = plots.plots(records) if plots_folder is not None else []
    parts = [f"# {_TITLE}", _INTRODUCTION, "## What was measured", _markdown_list(_facts(run))]
    if run.left_out:
        parts += ["Left out:", "\n".join(f"- {_one_line(text)}" for text in run.left_out)]
    parts += ["## How to read it", _READING]
    for section in sections(records):
        parts += [f"## {section.title}", *section.says]
        for plot in drawn:
            if plots_folder is not None and plot.section == section.name:
                parts.append(f"![{plot.title}]({plots_folder.name}/{plot.name}.svg)")
        for each in section.tables:
            parts += [*([f"**{each.caption}**"] if each.caption else []), _markdown_table(each)]
        if section.found:
            parts.append(section.found)
    parts += ["## How to repeat it", _REPEATING]
    return "\n\n".join(parts) + "\n"


def html(records: Sequence[Record]) -> str:
    """One run as one page of HTML that asks for nothing from elsewhere; raises `ValueError` for several runs."""
    run = heading(records)
    drawn = plots.plots(records)
    shown = sections(records)
    contents = "".join(f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in shown)
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(run).items())
    left_out = "".join(f"<li>{escape(text)}</li>" for text in run.left_out)
    body = [
        f"<header><h1>{_TITLE}</h1><p>{_html_text(_one_line(_INTRODUCTION))}</p></header>",
        f'<nav aria-label="Sections"><ul>{contents}</ul></nav>' if shown else "",
        f'<main><section id="run"><h2>What was measured</h2><dl>{facts}</dl>',
        f"<p>Left out:</p><ul>{left_out}</ul>" if left_out else "",
        f"<h3>How to read it</h3><p>{_html_text(_one_line(_READING))}</p></section>",
    ]
    for section in shown:
        body.append(f'<section id="{section.name}"><h2>{escape(section.title)}</h2>')
        body += [f"<p>{_html_text(text)}</p>" for text in section.says]
        body += [
            f'<figure class="scroll" tabindex="0">{plot.svg}</figure>' for plot in drawn if plot.section == section.name
        ]
        body += [_html_table(each) for each in section.tables]
        body.append(f"<p>{_html_text(section.found)}</p></section>" if section.found else "</section>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_TITLE}, {escape(run.run)}</title>\n"
        f"<style>\n{_PAGE_STYLE}\n{plots.STYLE}\n</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


# The words.

_TITLE = "What signaling costs"

_INTRODUCTION = """\
Clients relay offers, answers and ICE candidates through sigbridge and, on the same machine with the same load, through
baselines: relays as small as they can be, which check, limit and count nothing. `ws` and `grpc-js` are on Node,
`websockets` and `grpc.aio` on Python's libraries of these names. `tcp` is the floor, whose protocol costs next to
nothing; `peerjs` is PeerJS's own server, which relays and does not acknowledge."""

_REPEATING = """\
In a checkout, with a C compiler, Python, and Node for the baselines on it; otherwise the machine should be idle:

```sh
make bench                       # some minutes; figures go to bench-results.jsonl
make bench BENCH_ARGS=--quick    # a first look
make bench-report                # bench-report.html: this page with its plots, of the last run
```

`sigbridge bench compare A.jsonl B.jsonl` says what changed between two runs, and whether that is more than noise. Only
ratios within a run mean something on another machine."""
_READING = f"""\
A figure is the median over the rounds, with the least and the most of them behind it in brackets; where no range
stands, all rounds agree in the digits shown. The rounds of all servers are interleaved. A ratio is made round by round,
and its median and range are shown: 0.50{TIMES} is half of the baseline. What could not be measured is shown as
{NOTHING}."""

_RATIOS = """\
Ratios are, from WebSocket to WebSocket, to `ws`; from gRPC to gRPC, to `grpc-js` for `sigbridge` and to `grpc.aio` for
`sigbridge-grpcio`; of mixed pairings, to the mean of the same server's two unmixed ones."""

_SAYS = {
    "cpu": f"""\
The CPU time of the server's process, by the kernel's account, for a message that is acknowledged to its sender and
delivered to its receiver. Closed loop: every pair keeps so many messages in flight.

{_RATIOS}

*Busy* is CPU time over elapsed time, where 100 % is one core. *Limit* says whose was used up, which it is from
{BUSY * 100:.0f} % on: where it is the load's, or neither, relays per second say little about the server; its CPU time
does all the same.""",
    "latency": """\
Open loop: messages leave at planned times, whatever became of earlier ones, and their latency counts from the planned
time until the target has them. So a server that falls behind cannot hide it.

*Load late* is the most that the load was behind its own plan, in any round: where a latency is no larger, it may be
the load's. *Missing* is the largest share of messages, in any round, that had not been delivered when the measurement
ended; they count with the time that they had waited.""",
    "ceiling": """\
The highest rate tried at which the 99th percentile stayed below the limit, and the lowest at which it did not; the
ceiling lies between. Without a second figure, no rate that the load can make was too high. Of a ratio, more is better
here.""",
    "wire": f"""\
Bytes in the TCP streams of both sides, framing included: to the server the message, from it the delivery and the
acknowledgement. A call is {CALL_MESSAGES} messages, set-up not counted; 1 kB is 1,000 bytes. Shown is the setting with
fewest in flight: with more, a protocol may put several messages into one frame.""",
    "sessions": """\
Sessions connect and announce, a room each, and stay idle. Memory is what the server's resident set grew by, over the
number of sessions; 1 KiB is 1,024 bytes. Ratios are to the baseline of the same protocol: `ws`, `grpc-js`, and
`grpc.aio` for `sigbridge-grpcio`.""",
    "join": """\
One peer joins a room full of sessions: from its announce until the last of them has heard of it.""",
    "storm": """\
So many sessions connect and announce at once, a room each, as when a proxy restarts: until the last has its
acknowledgement. A pair of the same protocol, which is there already, signals meanwhile, in an open loop.

The kernel drops those that find the queue of a listening socket full; these try again after a second, then three.""",
    "whole-call": """\
From the first announce to the last candidate: both announce, offer, answer, eight candidates from each side. Ratios are
those of CPU per relay.""",
    "disturbance": """\
Latency of well-behaved pairs while another client opens and resets without end (*resets*), sends pings without end
(*pings*), announces itself to a full room and leaves it, 250 times in a batch and batch after batch (*batch*), asks for
half a megabyte of listing without end (*listing*), or while nobody disturbs. The room of a batch is as full as the one
that is joined above.""",
    "stall": """\
Latency of pairs of one peer on each protocol, while somebody sends offers of 32 kB without end to two others, one on
each protocol, that read them (*reading*) or nothing (*stalled*), or while there are no such two (*none*).""",
    "echo": """\
The load against a bare echo in C: what it can do at most, and what it costs itself.""",
    "without-io": """\
Hub and codecs alone, without sockets: decode, route, encode reply and event. The share is of the CPU per relay above,
with most in flight; the rest is the event loop, the sockets and the kernel.""",
}
"""What each section measured, and how; a blank line between paragraphs."""

_HEADERS = f"""\
A call of gRPC begins with the headers of {USUAL}'s client, everywhere but where others are named; plain headers are
literals of the fields that are needed, which nothing compresses."""


def _machine(run: Run) -> dict[str, str]:
    return {
        "machine": ", ".join(f"{name} {value}" for name, value in run.machine.items()) or "not recorded",
        "versions": ", ".join(f"{name} {value}" for name, value in run.versions.items()) or "not recorded",
    }


def _facts(run: Run) -> dict[str, str]:
    options = (f"{name} {_option(value)}" for name, value in run.options.items())
    return {
        "Began": run.run or "not recorded",
        "Commit": f"{run.commit} (+: with changes)" if run.commit.endswith("+") else run.commit or "not recorded",
        **{name.capitalize(): value for name, value in _machine(run).items()},
        "Asked for": "; ".join(options) or "not recorded",
    }


def _option(value: str | float | list[str] | None) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or NOTHING
    return value if isinstance(value, str) else plain(value)


# The sections.


def sections(records: Sequence[Record]) -> list[Section]:
    """The sections of one run; of what was not measured there is none."""
    found = figures.figures(records)
    made = (
        _cpu(found),
        _latency(found),
        _ceiling(found),
        _wire(found),
        _sessions(found),
        _join(found),
        _storm(found),
        _whole_call(found),
        _disturbance(found),
        _stall(found),
        _echo(found),
        _without_io(found),
    )
    return [section for section in made if section.tables]


Column = tuple[str, Callable[[Key], str]]

_SERVER: Column = ("server", lambda key: key.server)
_WAY: Column = ("pairing", lambda key: way_text(key.way))
_PROTOCOL: Column = ("protocol", lambda key: way_text(key.way))
_SESSION: Column = ("protocol", lambda key: figures.session_text(key.way, key.message))


def _amounts(head: str, *, at: int = 0) -> Column:
    return head, lambda key: plain(key.amounts[at])


def _value(found: Figures, measure: Measure, head: str | None = None, *, digits: int = 3) -> Column:
    """A column of medians and ranges."""

    def cell(key: Key) -> str:
        of = spread(found, measure, key)
        return of.text(measure.scale, digits) if of else NOTHING

    return f"{head or measure.name}, {measure.unit}", cell


def _ratio(found: Figures, measure: Measure, head: str = "ratio to baseline") -> Column:
    """A column of ratios to the baseline."""

    def cell(key: Key) -> str:
        rounds = ratio_in_report(found, Cell(measure, key)) if Cell(measure, key) in found else {}
        return Spread.of(rounds).ratio_text() if rounds else ""

    return head, cell


def _share(found: Figures, measure: Measure, head: str) -> Column:
    """A column of shares in percent, without their ranges."""

    def cell(key: Key) -> str:
        of = spread(found, measure, key)
        return f"{of.median:.0%}".replace("%", " %") if of else NOTHING

    return head, cell


def _section(name: str, title: str, tables: Sequence[Table], came_of_it: str = "") -> Section:
    """A section with its words; of its tables those that have rows."""
    says = [_one_line(text) for text in _SAYS[name].split("\n\n")]
    return Section(name, title, says, [each for each in tables if each.rows], _one_line(came_of_it))


def _worst(found: Figures, measure: Measure) -> Callable[[Key], str]:
    """The most of all rounds, alone."""

    def cell(key: Key) -> str:
        of = spread(found, measure, key)
        return number(of.most * measure.scale, 2) if of else NOTHING

    return cell


def _rows(caption: str, rows: Sequence[Key], words: Sequence[Column], values: Sequence[Column]) -> Table:
    columns = [*words, *values]
    kept = [column for column in columns if column in words or any(column[1](key) not in ("", NOTHING) for key in rows)]
    return Table(caption, [head for head, _ in kept], len(words), [[cell(key) for _, cell in kept] for key in rows])


def _by_message(
    found: Figures, measures: tuple[Measure, ...], words: Sequence[Column], values: Sequence[Column]
) -> list[Table]:
    """A table for each message and each setting."""
    everything = keys(found, *measures)
    made = []
    for message, amounts in dict.fromkeys((key.message, key.amounts) for key in everything):
        rows = [key for key in everything if (key.message, key.amounts) == (message, amounts)]
        made.append(_rows(f"{_message_text(message)}, {amounts_text(measures[0], amounts)}", rows, words, values))
    return made


def _message_text(message: str) -> str:
    return f"call (an offer, an answer and {CALL_MESSAGES - 2} candidates)" if message == "call" else message


def _cpu(found: Figures) -> Section:
    def limit(key: Key) -> str:
        server, load = (spread(found, measure, key) for measure in (figures.SERVER_BUSY, figures.LOAD_BUSY))
        busy = {"server": server.median if server else 0.0, "load": load.median if load else 0.0}
        most = max(busy, key=lambda name: busy[name])
        if busy[most] >= BUSY:
            return most
        return "neither" if server else NOTHING

    values = (
        _value(found, figures.CPU, "CPU per relay"),
        _ratio(found, figures.CPU),
        _value(found, figures.RELAYS, "relays"),
        _share(found, figures.SERVER_BUSY, "server busy"),
        _share(found, figures.LOAD_BUSY, "load busy"),
        ("limit", limit),
    )
    tables = _by_message(found, (figures.CPU, figures.RELAYS), (_WAY, _SERVER), values)
    return _section("cpu", "CPU per relay", tables)


def _latency(found: Figures) -> Section:
    everything = keys(found, figures.P50, order=figures.by_way)
    values = (
        _value(found, figures.P50, "p50", digits=2),
        _value(found, figures.P90, "p90", digits=2),
        _value(found, figures.P99, "p99", digits=2),
        _value(found, figures.P999, "p99.9", digits=2),
        ("missing, %", _worst(found, figures.UNDELIVERED)),
        ("load late, ms", _worst(found, figures.BEHIND)),
    )
    made = []
    for message, way in dict.fromkeys((key.message, key.way) for key in everything):
        rows = [key for key in everything if (key.message, key.way) == (message, way)]
        caption = f"{_message_text(message)}, {way_text(way)}"
        made.append(_rows(caption, rows, (_SERVER, _amounts("rate, 1/s")), values))
    return _section("latency", "Latency against rate", made)


def _ceiling(found: Figures) -> Section:
    everything = keys(found, figures.KEPT)
    made = []
    for message, amounts in dict.fromkeys((key.message, key.amounts) for key in everything):
        rows = [key for key in everything if (key.message, key.amounts) == (message, amounts)]
        values = (
            _value(found, figures.KEPT, "highest rate below"),
            _ratio(found, figures.KEPT),
            _value(found, figures.LEFT, "lowest rate above"),
        )
        caption = f"{_message_text(message)}, 99th percentile below {number(amounts[0] * 1e3)} ms"
        made.append(_rows(caption, rows, (_WAY, _SERVER), values))
    return _section("ceiling", "Ceiling", made)


def _wire(found: Figures) -> Section:
    def per_call(measure: Measure) -> Callable[[Key], str]:
        def cell(key: Key) -> str:
            of = spread(found, measure, key) if key.message == "call" else None
            return of.text(CALL_MESSAGES / 1e3, 4) if of else ""

        return cell

    everything = keys(found, figures.BYTES_TO)
    made = []
    for message in dict.fromkeys(key.message for key in everything):
        amounts = min(key.amounts for key in everything if key.message == message)
        values = (
            _value(found, figures.BYTES_TO, "to server, per message", digits=4),
            _value(found, figures.BYTES_FROM, "from server, per message", digits=4),
            ("to server, per call, kB", per_call(figures.BYTES_TO)),
            ("from server, per call, kB", per_call(figures.BYTES_FROM)),
        )
        rows = [key for key in everything if (key.message, key.amounts) == (message, amounts)]
        caption = f"{_message_text(message)}, {amounts_text(figures.BYTES_TO, amounts)}"
        made.append(_rows(caption, rows, (_WAY, _SERVER), values))
    return _section("wire", "Bytes on the wire", made)


def _sessions(found: Figures) -> Section:
    memory = (_value(found, figures.MEMORY, "memory per session"), _ratio(found, figures.MEMORY))
    set_up = (
        _value(found, figures.SET_UPS, "set-ups"),
        _value(found, figures.SET_UP_CPU, "CPU per set-up"),
        _ratio(found, figures.SET_UP_CPU, "CPU, ratio to baseline"),
    )
    rows = keys(found, figures.SET_UPS, order=figures.by_protocol)
    words = (_amounts("sessions"), _PROTOCOL, _SERVER)
    with_headers = (_amounts("sessions"), _SESSION, _SERVER)
    with_memory = [key for key in rows if Cell(figures.MEMORY, key) in found]
    tables = [
        _rows("Memory of an idle session", with_memory, words, memory),
        _rows("Setting one up", rows, with_headers, set_up),
    ]
    return _section("sessions", "Sessions", tables, _HEADERS if any(key.message for key in rows) else "")


def _join(found: Figures) -> Section:
    values = (
        _value(found, figures.JOIN_TIME, "until the last one knows"),
        _ratio(found, figures.JOIN_TIME, "time ratio"),
        _value(found, figures.JOIN_CPU, "server CPU"),
    )
    rows = keys(found, figures.JOIN_TIME)
    words = (_amounts("in the room"), _PROTOCOL, _SERVER)
    return _section("join", "Joining a full room", [_rows("", rows, words, values)])


def _storm(found: Figures) -> Section:
    values = (
        _value(found, figures.STORM_TIME, "until the last one is in"),
        _value(found, figures.STORM_P50, "p50 of the pair"),
        _value(found, figures.STORM_P99, "p99 of the pair"),
        ("load late, ms", _worst(found, figures.STORM_BEHIND)),
    )
    rows = keys(found, figures.STORM_TIME)
    words = (_amounts("at once"), _amounts("rate of the pair, 1/s", at=1), _PROTOCOL, _SERVER)
    return _section("storm", "A storm of connections", [_rows("", rows, words, values)])


def _whole_call(found: Figures) -> Section:
    values = (
        _value(found, figures.CALL_P50, "p50"),
        _ratio(found, figures.CALL_P50, "p50 ratio"),
        _value(found, figures.CALL_P99, "p99"),
    )
    rows = keys(found, figures.CALL_P50)
    words = (_amounts("calls"), _WAY, _SERVER)
    return _section("whole-call", "A whole call", [_rows("", rows, words, values)])


def _ratio_to(found: Figures, measure: Measure, message: str) -> Column:
    """A column of ratios to the same with another `message`."""

    def cell(key: Key) -> str:
        others = found.get(Cell(measure, key._replace(message=message)), {})
        rounds = found[Cell(measure, key)]
        ratios = {at: value / others[at] for at, value in rounds.items() if others.get(at, 0) > 0}
        return Spread.of(ratios).ratio_text() if ratios and key.message != message else ""

    return f"p99, ratio to {message}", cell


def _disturbance(found: Figures) -> Section:
    values = (
        _value(found, figures.DISTURBED_P50, "p50"),
        _value(found, figures.DISTURBED_P99, "p99"),
        _ratio_to(found, figures.DISTURBED_P99, "nobody"),
    )
    rows = keys(found, figures.DISTURBED_P99, order=lambda key: (*figures.by_way(key)[1:], figures.by_way(key)[0]))
    words = (_WAY, _SERVER, _amounts("rate, 1/s"), ("disturbed by", lambda key: key.message))
    return _section("disturbance", "Beside a client that misbehaves", [_rows("", rows, words, values)])


def _stall(found: Figures) -> Section:
    values = (
        _value(found, figures.STALLED_P50, "p50"),
        _value(found, figures.STALLED_P99, "p99"),
        _ratio_to(found, figures.STALLED_P99, "none"),
        _ratio_to(found, figures.STALLED_P99, "reading"),
    )
    rows = keys(found, figures.STALLED_P99)
    words = (_amounts("peers"), _WAY, _SERVER, _amounts("rate, 1/s", at=1), ("two listeners", lambda key: key.message))
    return _section("stall", "Beside peers that do not read", [_rows("", rows, words, values)])


def _echo(found: Figures) -> Section:
    rows = keys(found, figures.ECHOES)
    values = (_value(found, figures.ECHOES, "echoes"), _value(found, figures.ECHO_CPU))
    says = ""
    relays = {
        key: Spread.of(rounds).median
        for (measure, key), rounds in found.items()
        if measure == figures.RELAYS and key.server != FLOOR
    }
    if rows and relays:
        echoes = max(Spread.of(found[Cell(figures.ECHOES, key)]).median for key in rows)
        fastest = max(relays, key=lambda key: relays[key])
        times = number(echoes / relays[fastest], 2)
        says = f"""\
The load did {number(echoes)} echoes per second, {times} times as many as the fastest server relayed: `{fastest.server}`
with {number(relays[fastest])} ({way_text(fastest.way)}, {fastest.message},
{amounts_text(figures.RELAYS, fastest.amounts)}). The larger this factor, the less of what was measured is the load."""
    words = (("server", lambda _: "echo in C"),)
    return _section("echo", "What the load can do", [_rows("", rows, words, values)], says)


def _without_io(found: Figures) -> Section:
    with_io = keys(found, figures.CPU)

    def share(key: Key) -> str:
        same = [other for other in with_io if other._replace(amounts=()) == key]
        if not same:
            return ""
        whole = found[Cell(figures.CPU, max(same, key=lambda other: other.amounts))]
        alone = Spread.of(found[Cell(figures.WITHOUT_IO, key)]).median
        of = Spread.of(whole).median
        return f"{alone / of:.0%}".replace("%", " %") if of > 0 else ""

    values = (_value(found, figures.WITHOUT_IO, "CPU per relay"), ("share of that with I/O", share))
    rows = keys(found, figures.WITHOUT_IO)
    words = (("message", lambda key: key.message), _WAY, _SERVER)
    return _section("without-io", "Without I/O", [_rows("", rows, words, values)])


# Rendering.


def terminal_text(text: str) -> str:
    """A paragraph in lines of at most 100 columns, without Markdown's marks."""
    return "\n".join(textwrap.wrap(re.sub(r"[`*]", "", text), 100, subsequent_indent="  ", break_on_hyphens=False))


def terminal_table(of: Table) -> str:
    """A table in plain text, of at most 120 columns: what is too wide is broken into lines within its column."""
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


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown_list(facts: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {_one_line(value)}" for name, value in facts.items())


def _markdown_table(of: Table) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_one_line(cell).replace("|", r"\|") for cell in cells) + " |"

    marks = ["---" if at < of.words else "---:" for at in range(len(of.head))]
    return "\n".join([row(of.head), f"|{'|'.join(marks)}|", *(row(cells) for cells in of.rows)])


def _html_text(text: str) -> str:
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", shown)


def _html_table(of: Table) -> str:
    def cells(row: Sequence[str]) -> str:
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


_PAGE_STYLE = f"""
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

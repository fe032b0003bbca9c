"""Report on a run, as text for a terminal, as Markdown and as one page of HTML.

All three show the same sections with the same tables: a section is made once, out of the records, and rendered thrice.
What was not measured has no section.
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from sigbridge_bench import figures, plots
from sigbridge_bench.figures import (
    CALL_MESSAGES,
    FLOOR,
    NOTHING,
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
from sigbridge_bench.rendering import (
    PAGE_STYLE,
    Table,
    html_table,
    html_text,
    markdown_list,
    markdown_table,
    one_line,
    terminal_table,
    terminal_text,
)

BUSY = 0.85
"""From this share of one core on, a process counts as what limited a measurement."""


class Section(NamedTuple):
    """A part of the report."""

    name: str
    title: str
    says: Sequence[str]
    """Paragraphs: what was measured, and how."""
    tables: Sequence[Table]
    found: str = ""
    """Outcome, where tables do not say it."""


def table(records: Sequence[Record]) -> str:
    """Returns the tables of one run for a terminal, of at most 120 columns.

    :raises ValueError: if there are several runs
    """
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
    """Returns one run as a page of Markdown.

    Links to the plots in `plots_folder` are made for a page that lies beside that folder.

    :raises ValueError: if there are several runs
    """
    run = heading(records)
    drawn = plots.plots(records) if plots_folder is not None else []
    parts = [f"# {_TITLE}", _INTRODUCTION, "## What was measured", markdown_list(_facts(run))]
    if run.left_out:
        parts += ["Left out:", "\n".join(f"- {one_line(text)}" for text in run.left_out)]
    parts += ["## How to read it", _READING]
    for section in sections(records):
        parts += [f"## {section.title}", *section.says]
        for plot in drawn:
            if plots_folder is not None and plot.section == section.name:
                parts.append(f"![{plot.title}]({plots_folder.name}/{plot.name}.svg)")
        for each in section.tables:
            parts += [*([f"**{each.caption}**"] if each.caption else []), markdown_table(each)]
        if section.found:
            parts.append(section.found)
    parts += ["## How to repeat it", _REPEATING]
    return "\n\n".join(parts) + "\n"


def html(records: Sequence[Record]) -> str:
    """Returns one run as one page of HTML, which loads nothing from elsewhere.

    :raises ValueError: if there are several runs
    """
    run = heading(records)
    drawn = plots.plots(records)
    shown = sections(records)
    contents = "".join(f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in shown)
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(run).items())
    left_out = "".join(f"<li>{escape(text)}</li>" for text in run.left_out)
    body = [
        f"<header><h1>{_TITLE}</h1><p>{html_text(one_line(_INTRODUCTION))}</p></header>",
        f'<nav aria-label="Sections"><ul>{contents}</ul></nav>' if shown else "",
        f'<main><section id="run"><h2>What was measured</h2><dl>{facts}</dl>',
        f"<p>Left out:</p><ul>{left_out}</ul>" if left_out else "",
        f"<h3>How to read it</h3><p>{html_text(one_line(_READING))}</p></section>",
    ]
    for section in shown:
        body.append(f'<section id="{section.name}"><h2>{escape(section.title)}</h2>')
        body += [f"<p>{html_text(text)}</p>" for text in section.says]
        body += [
            f'<figure class="scroll" tabindex="0">{plot.svg}</figure>' for plot in drawn if plot.section == section.name
        ]
        body += [html_table(each) for each in section.tables]
        body.append(f"<p>{html_text(section.found)}</p></section>" if section.found else "</section>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_TITLE}, {escape(run.run)}</title>\n"
        f"<style>\n{PAGE_STYLE}\n{plots.STYLE}\n</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


# The words.

_TITLE = "What signaling costs"

_INTRODUCTION = """\
Clients relay offers, answers and ICE candidates through sigbridge and, on the same machine with the same load, through
baselines: minimal relays that check, limit and count nothing. `ws` and `grpc-js` run on Node, `websockets` and
`grpc.aio` on the Python libraries of these names. `tcp` is the floor, with a protocol that costs almost nothing;
`peerjs` is PeerJS's own server, which does not acknowledge."""

_REPEATING = """\
In a checkout on an idle machine, with a C compiler, Python, and Node for its baselines:

```sh
make bench                       # some minutes; figures go to bench-results.jsonl
make bench BENCH_ARGS=--quick    # a quick look
make bench-report                # bench-report.html: this page with its plots, of the last run
```

`sigbridge bench compare A.jsonl B.jsonl` shows what changed between two runs, and if that is more than noise. On
another machine only ratios within a run are comparable."""
_READING = f"""\
A figure is the median over the rounds, with their least and greatest in brackets; without a range all rounds agree in
the digits shown. The rounds of all servers are interleaved. Ratios are computed round by round, and their median and
range are shown: 0.50{TIMES} is half of the baseline. A missing figure is shown as
{NOTHING}."""

_RATIOS = """\
Ratios are, from WebSocket to WebSocket, to `ws`; from gRPC to gRPC, to `grpc-js` for `sigbridge` and to `grpc.aio` for
`sigbridge-grpcio`; of mixed pairings, to the mean of the same server's two unmixed ones; for `sigbridge-resumable`,
whose sessions are resumable, to the same row of `sigbridge`."""

_SAYS = {
    "cpu": f"""\
The CPU time of the server's process, measured by the kernel, for a message that is acknowledged to its sender and
delivered to its receiver. Closed loop: every pair keeps a fixed number of messages in flight.

{_RATIOS}

*Busy* is CPU time over elapsed time, where 100 % is one core. *Limit* says whose was used up, which it is from
{BUSY * 100:.0f} % on: where it is the load's, or neither, relays per second say little about the server; its CPU time
does all the same.""",
    "latency": """\
Open loop: messages are sent at planned times, independent of earlier ones, and their latency is counted from the
planned time until the target has them. So a server that falls behind cannot hide it.

*Load late* is the greatest delay of the load behind its own plan, in any round: a latency that is no larger may be the
load's. *Missing* is the largest share of messages, in any round, that were not delivered when the measurement ended;
they count with the time that they had waited.""",
    "ceiling": """\
The highest tried rate at which the 99th percentile stayed below the limit, and the lowest at which it did not; the
ceiling is in between. Without a second figure, no rate that the load can produce was too high. Here a higher ratio is
better.""",
    "wire": f"""\
Bytes in the TCP streams of both sides, framing included: to the server the message, from it the delivery and the
acknowledgement. A call is {CALL_MESSAGES} messages, set-up not counted; 1 kB is 1,000 bytes. Shown is the setting with
fewest in flight: with more, a protocol may put several messages into one frame.""",
    "sessions": """\
Sessions connect and announce, a room each, and stay idle. Memory is the growth of the server's resident set per
session; 1 KiB is 1,024 bytes. Ratios are to the baseline of the same protocol: `ws`, `grpc-js`, and
`grpc.aio` for `sigbridge-grpcio`. Those of `sigbridge-resumable` are then cut, and resume. Their
ratios are to `sigbridge`, and a resume's to its set-up.""",
    "join": """\
One peer joins a room full of sessions: the time from its announce until the last of them has the event.""",
    "storm": """\
The given number of sessions connect and announce at once, a room each, as when a proxy restarts: the time until the
last has its response. Meanwhile an existing pair of the same protocol signals in an open loop.

The kernel drops connections for which the queue of a listening socket is full; these retry after a second, then
three.""",
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
The load against a bare echo in C: its greatest rate, and its own cost.""",
    "without-io": """\
Hub and codecs alone, without sockets: decode, route, encode response and event. The share is of the CPU per relay
above, with most in flight; the rest is the event loop, the sockets and the kernel.""",
}
"""Explanations of what each section measured, and how; a blank line between paragraphs."""

_HEADERS = f"""\
A call of gRPC begins with the headers of {USUAL}'s client, everywhere but where others are named; plain headers are
literals of the fields that are needed, which nothing compresses."""


def _machine(run: Run) -> dict[str, str]:
    """Returns the machine and the versions of a run, as texts."""
    return {
        "machine": ", ".join(f"{name} {value}" for name, value in run.machine.items()) or "not recorded",
        "versions": ", ".join(f"{name} {value}" for name, value in run.versions.items()) or "not recorded",
    }


def _facts(run: Run) -> dict[str, str]:
    """Returns the facts of a run by name: when, of which commit, where, with which options."""
    options = (f"{name} {_option(value)}" for name, value in run.options.items())
    return {
        "Began": run.run or "not recorded",
        "Commit": f"{run.commit} (+: with changes)" if run.commit.endswith("+") else run.commit or "not recorded",
        **{name.capitalize(): value for name, value in _machine(run).items()},
        "Asked for": "; ".join(options) or "not recorded",
    }


def _option(value: str | float | list[str] | None) -> str:
    """Returns the value of an option as text: a flag is yes or no, and one that is not given is `NOTHING`."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or NOTHING
    return value if isinstance(value, str) else plain(value)


# The sections.


def sections(records: Sequence[Record]) -> list[Section]:
    """Returns the sections of one run; none of what was not measured."""
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
    """Returns a column of medians and ranges."""

    def cell(key: Key) -> str:
        of = spread(found, measure, key)
        return of.text(measure.scale, digits) if of else NOTHING

    return f"{head or measure.name}, {measure.unit}", cell


def _ratio(found: Figures, measure: Measure, head: str = "ratio to baseline") -> Column:
    """Returns a column of ratios to the baseline."""

    def cell(key: Key) -> str:
        rounds = ratio_in_report(found, Cell(measure, key)) if Cell(measure, key) in found else {}
        return Spread.of(rounds).ratio_text() if rounds else ""

    return head, cell


def _share(found: Figures, measure: Measure, head: str) -> Column:
    """Returns a column of shares in per cent, without their ranges."""

    def cell(key: Key) -> str:
        of = spread(found, measure, key)
        return f"{of.median:.0%}".replace("%", " %") if of else NOTHING

    return head, cell


def _section(name: str, title: str, tables: Sequence[Table], came_of_it: str = "") -> Section:
    """Returns a section with its words; of its tables those that have rows."""
    says = [one_line(text) for text in _SAYS[name].split("\n\n")]
    return Section(name, title, says, [each for each in tables if each.rows], one_line(came_of_it))


def _worst(found: Figures, measure: Measure) -> Callable[[Key], str]:
    """Returns the function that shows the largest value of all rounds."""

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
    """Returns a table of given columns for each message and setting."""
    everything = keys(found, *measures)
    made = []
    for message, amounts in dict.fromkeys((key.message, key.amounts) for key in everything):
        rows = [key for key in everything if (key.message, key.amounts) == (message, amounts)]
        made.append(_rows(f"{_message_text(message)}, {amounts_text(measures[0], amounts)}", rows, words, values))
    return made


def _message_text(message: str) -> str:
    return f"call (an offer, an answer and {CALL_MESSAGES - 2} candidates)" if message == "call" else message


def _cpu(found: Figures) -> Section:
    """Returns the section on CPU per relay."""

    def limit(key: Key) -> str:
        """Returns which of server and load was busy all the time, thus limited the figure."""
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
    """Returns the section on latency against rate."""
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
    """Returns the section on the highest rate that keeps latency below a limit."""
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
    """Returns the section on bytes on the wire."""

    def per_call(measure: Measure) -> Callable[[Key], str]:
        """Returns the function that computes a measure's cell for a whole call."""

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
    """Returns the section on memory, set-up and resume of sessions."""
    memory = (_value(found, figures.MEMORY, "memory per session"), _ratio(found, figures.MEMORY))
    set_up = (
        _value(found, figures.SET_UPS, "set-ups"),
        _value(found, figures.SET_UP_CPU, "CPU per set-up"),
        _ratio(found, figures.SET_UP_CPU, "CPU, ratio to baseline"),
    )
    resume = (_value(found, figures.RESUME_CPU, "CPU per resume"), _ratio(found, figures.RESUME_CPU, "in set-ups"))
    rows = keys(found, figures.SET_UPS, order=figures.by_protocol)
    words = (_amounts("sessions"), _PROTOCOL, _SERVER)
    with_headers = (_amounts("sessions"), _SESSION, _SERVER)
    with_memory = [key for key in rows if Cell(figures.MEMORY, key) in found]
    tables = [
        _rows("Memory of an idle session", with_memory, words, memory),
        _rows("Setting one up", rows, with_headers, set_up),
        _rows("Coming back", keys(found, figures.RESUME_CPU, order=figures.by_protocol), words, resume),
    ]
    return _section("sessions", "Sessions", tables, _HEADERS if any(key.message for key in rows) else "")


def _join(found: Figures) -> Section:
    """Returns the section on joining a full room."""
    values = (
        _value(found, figures.JOIN_TIME, "until the last one knows"),
        _ratio(found, figures.JOIN_TIME, "time ratio"),
        _value(found, figures.JOIN_CPU, "server CPU"),
    )
    rows = keys(found, figures.JOIN_TIME)
    words = (_amounts("in the room"), _PROTOCOL, _SERVER)
    return _section("join", "Joining a full room", [_rows("", rows, words, values)])


def _storm(found: Figures) -> Section:
    """Returns the section on a storm of connections."""
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
    """Returns the section on the time that a whole call takes."""
    values = (
        _value(found, figures.CALL_P50, "p50"),
        _ratio(found, figures.CALL_P50, "p50 ratio"),
        _value(found, figures.CALL_P99, "p99"),
    )
    rows = keys(found, figures.CALL_P50)
    words = (_amounts("calls"), _WAY, _SERVER)
    return _section("whole-call", "A whole call", [_rows("", rows, words, values)])


def _ratio_to(found: Figures, measure: Measure, message: str) -> Column:
    """Returns a column of ratios to the same key with another `message`."""

    def cell(key: Key) -> str:
        """Returns the ratio of one figure to that of the same key with the other message."""
        others = found.get(Cell(measure, key._replace(message=message)), {})
        rounds = found[Cell(measure, key)]
        ratios = {at: value / others[at] for at, value in rounds.items() if others.get(at, 0) > 0}
        return Spread.of(ratios).ratio_text() if ratios and key.message != message else ""

    return f"p99, ratio to {message}", cell


def _disturbance(found: Figures) -> Section:
    """Returns the section on latency beside a client that misbehaves."""
    values = (
        _value(found, figures.DISTURBED_P50, "p50"),
        _value(found, figures.DISTURBED_P99, "p99"),
        _ratio_to(found, figures.DISTURBED_P99, "nobody"),
    )
    rows = keys(found, figures.DISTURBED_P99, order=lambda key: (*figures.by_way(key)[1:], figures.by_way(key)[0]))
    words = (_WAY, _SERVER, _amounts("rate, 1/s"), ("disturbed by", lambda key: key.message))
    return _section("disturbance", "Beside a client that misbehaves", [_rows("", rows, words, values)])


def _stall(found: Figures) -> Section:
    """Returns the section on latency beside peers that do not read."""
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
    """Returns the section on how much the load itself can do."""
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
    """Returns the section on CPU per relay without I/O."""
    with_io = keys(found, figures.CPU)

    def share(key: Key) -> str:
        """Returns which share of the CPU per relay with I/O the one without it is."""
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

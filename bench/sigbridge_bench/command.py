"""`sigbridge bench`: measure, report, compare, pair.

Rule 1: what cannot be measured here is said, and the rest is measured. Rule 2: whatever goes wrong is one line and an
exit code: 2 where there is no C compiler for the load, 1 for everything else. Rule 3: the words stand here, and are
read by the `sigbridge` command; what they need is loaded when they are said.
"""

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, cast

from sigbridge_bench.errors import BenchError

if TYPE_CHECKING:
    from sigbridge_bench import pair_plan
    from sigbridge_bench.pair_builds import Name
    from sigbridge_bench.records import Protocol, Record
    from sigbridge_bench.run import Profile
    from sigbridge_bench.servers import AttachedServer, Subject

OUTPUT = "bench-results.jsonl"
ATTACHED = "attached"
CONNECT_SECONDS = 10.0

DESCRIPTION = """\
Measure what signaling costs: CPU time of the server for a relayed message, latency, the rate that a server keeps up
with, memory and set-up of sessions, a join to a full room, whole calls. It starts the servers itself: sigbridge with
every feature on, and the installed baselines. With --grpc or --ws it measures a running server instead. Every figure
is appended to a file, which `report` and `compare` read."""
EPILOG = """\
examples:
  sigbridge bench --quick
  sigbridge bench --only cpu,latency --servers sigbridge,ws
  sigbridge bench --grpc localhost:50051 --ws ws://localhost:8080 --token-file token --pid 4711
  sigbridge bench report bench-results.jsonl --html report.html
  sigbridge bench compare before.jsonl after.jsonl
  sigbridge bench pair /tmp/before /tmp/after
  sigbridge bench pair /tmp/after /tmp/after --set-b SIGNALING_LOG_LEVEL=warn

The load generator is a C program, built at first use, and needs a C compiler (Debian: gcc libc6-dev). It does not
speak TLS: give the plain address of a server."""


def add_words(bench: argparse.ArgumentParser) -> None:
    """Gives a parser the subcommands and options of `sigbridge bench`.

    What is chosen is run by `options.run(options)`.
    """
    bench.formatter_class = argparse.RawDescriptionHelpFormatter
    bench.description, bench.epilog = DESCRIPTION, EPILOG
    bench.set_defaults(run=measure)
    bench.add_argument("--quick", action="store_true", help="a quick look: little load, one round")
    bench.add_argument("--only", metavar="NAME,…", help="only these measurements; see --list")
    bench.add_argument("--servers", metavar="NAME,…", help="only these servers; see --list")
    bench.add_argument("--list", action="store_true", help="list the measurements and servers, and exit")
    bench.add_argument("--rounds", type=_positive, metavar="N", help="rounds of every measurement")
    bench.add_argument("--pairs", type=_positive, metavar="N", help="pairs of peers that send each other (8)")
    bench.add_argument("--messages", type=_positive, metavar="N", help="messages per figure of CPU time (3000)")
    bench.add_argument("--sessions", type=_positive, metavar="N", help="idle sessions per figure of memory (1000)")
    bench.add_argument("--storm", type=_positive, metavar="N", help="sessions that connect at once (8000)")
    bench.add_argument("--room", type=_positive, metavar="N", help="size of the room that is joined (2000)")
    bench.add_argument("--rates", type=_rates, metavar="N,…", help="messages per second, for latency (1000,4000)")
    bench.add_argument("--output", metavar="FILE", default=OUTPUT, help=f"file to append figures to ({OUTPUT})")
    attach = bench.add_argument_group("a server that runs already")
    attach.add_argument("--grpc", metavar="HOST:PORT", help="its gRPC address, without TLS")
    attach.add_argument("--ws", metavar="URL", help="its WebSocket URL, ws:// only")
    attach.add_argument("--token-file", metavar="FILE", help="file with its API token; without it: SIGBRIDGE_TOKEN")
    attach.add_argument(
        "--pid", type=_positive, metavar="N", help="its process id on this machine, for CPU time and memory"
    )
    commands = bench.add_subparsers(title="commands", metavar="COMMAND")
    report = commands.add_parser("report", help="print or write the tables and plots of a run")
    report.description = "Print the tables of a run, or write them as a page of Markdown or HTML, and plots as SVG."
    report.add_argument("file", metavar="FILE", help="results of a run")
    report.add_argument("--markdown", metavar="FILE", help="write a page of Markdown")
    report.add_argument("--html", metavar="FILE", help="write one page of HTML, plots included")
    report.add_argument("--plots", metavar="FOLDER", help="write the plots; beside the page of Markdown, it shows them")
    report.add_argument("--run", dest="run_id", metavar="ID", help="the run of the file (the last)")
    report.set_defaults(run=print_report)
    compare = commands.add_parser("compare", help="print the differences between two runs")
    compare.description = "Compare the last run of one file with the last run of another."
    compare.add_argument("before", metavar="A", help="results of a run")
    compare.add_argument("after", metavar="B", help="results of another run")
    compare.set_defaults(run=print_comparison)
    _add_pair(commands.add_parser("pair", help="compare two installed builds, to a per cent or two"))


def _add_pair(pair: argparse.ArgumentParser) -> None:
    """Gives the parser of `sigbridge bench pair` its description and arguments."""
    pair.description = """\
Run two installed builds at once on one core, alternate slices of load between them, and print the ratio of their
costs with its 90 % interval. A and B are virtual environments with bin/sigbridge; they may be the same one, with
variables set for one server only."""
    pair.add_argument("a", metavar="A", help="virtual environment of one build")
    pair.add_argument("b", metavar="B", help="that of the other; its figures are divided by A's")
    for name in "ab":
        pair.add_argument(
            f"--set-{name}",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help=f"set an environment variable for {name.upper()}'s server; may be repeated",
        )
    pair.add_argument("--quick", action="store_true", help="a quick look: fewer generations, smaller slices")
    pair.add_argument("--only", metavar="NAME,…", help="some of relays, setup, memory, and with --resumable returns")
    pair.add_argument(
        "--resumable",
        metavar="NAMES",
        default="",
        help="builds whose sessions are resumable and return after a loss: b or ab",
    )
    pair.add_argument("--pairings", metavar="NAME,…", help="only relays of these pairings: grpc-websocket, …")
    pair.add_argument("--engine", metavar="NAME", default="native", help="engine of gRPC: native or grpcio (native)")
    pair.add_argument("--generations", type=_positive, metavar="N", help="starts of both builds, at least 2 (12)")
    pair.add_argument("--rounds", type=_positive, metavar="N", help="pairs of slices per generation (8)")
    pair.add_argument("--messages", type=_positive, metavar="N", help="messages per slice (2000; grpcio: 1000)")
    pair.add_argument("--sessions", type=_positive, metavar="N", help="sessions of each protocol per generation (1000)")
    pair.add_argument(
        "--tokens", metavar="FILE", help="tokens, one a line, that sessions use in turn; both servers accept them"
    )
    pair.add_argument(
        "--json", metavar="FILE", help="file to append figures and all pairs to, one JSON object per line"
    )
    pair.add_argument(
        "--limit", type=float, metavar="PERCENT", help="exit 1 if a relay is certainly slower in B by more than this"
    )
    pair.set_defaults(run=print_pairs)


# Measuring.


def measure(options: argparse.Namespace) -> int:
    """Measures what was asked for, and prints the tables; returns the exit code.

    :raises BenchError: if this system cannot account for CPU time.
    """
    from sigbridge_bench.load import LoadError, build
    from sigbridge_bench.run import MEASUREMENTS
    from sigbridge_bench.servers import NAMES

    if options.list:
        print(f"measurements: {', '.join(MEASUREMENTS)}\nservers: {', '.join(NAMES)}")
        return 0
    only = _chosen("--only", options.only, MEASUREMENTS)
    names = _chosen("--servers", options.servers, NAMES)
    if not sys.platform.startswith("linux"):
        raise BenchError("the benchmark needs Linux, whose kernel it asks for CPU time and memory")
    try:
        build()
    except LoadError as error:
        print(f"sigbridge: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _end)
    try:
        records = _measure(options, only, names)
    except LoadError as error:
        print(f"sigbridge: {error} (what was measured until then is in {options.output})", file=sys.stderr)
        return 1
    from sigbridge_bench.report import table

    print(table(records), end="")
    return 0


def _measure(options: argparse.Namespace, only: Sequence[str], names: Sequence[str]) -> "list[Record]":
    """Runs the measurements named in `only`, and returns their records.

    Starts the servers named in `names`, unless the options name one that is already running.
    """
    from sigbridge_bench import run
    from sigbridge_bench.servers import NAMES, startable

    attached, subjects, left_out = _attached(options)
    if attached is None or options.servers:
        started, missing = startable([name for name in NAMES if name in names])
        subjects += started
        left_out += missing
    profile = _profile(options)
    if not {"sigbridge", ATTACHED} & {subject.name for subject in subjects}:
        left_out += [
            f"{name}: a measurement of sigbridge only"
            for name in ("without-io", "storm", "disturbance", "stall")
            if name in only
        ]
    elif attached is not None:
        left_out += [
            f"{name}: a measurement of a server that is started here"
            for name in ("without-io", "storm")
            if name in only
        ]
    if "join" in only and "sigbridge-grpcio" in {subject.name for subject in subjects}:
        left_out.append(
            "sigbridge-grpcio, join: its engine writes each event by itself, and takes minutes to fill a room"
        )
    most = run.most_sessions()
    wants = {
        "sessions": 2 * profile.sessions,
        "join": profile.room,
        "storm": profile.storm,
        "stall": 2 * profile.mixed_pairs,
    }
    for name, wanted in wants.items():
        if name in only and wanted > most:
            left_out.append(f"{name}: {wanted} sessions, and only {most} files may be open at once (ulimit -Hn)")
            only = [other for other in only if other != name]
    bench = run.Bench(run=run.now(), subjects=subjects, profile=profile, attached=attached)
    if bench.cores.server is None:
        left_out.append("cores: server and load share the only one there is, and slow each other down")
    for text in left_out:
        print(f"left out: {text}", file=sys.stderr)
    asked: dict[str, str | int | float | bool | None | list[str]] = {
        "quick": bool(options.quick),
        "only": list(only),
        "servers": [subject.name for subject in subjects],
        "rounds": options.rounds,
        "pairs": profile.pairs,
        "messages": profile.messages,
        "rates": [f"{rate:g}" for rate in profile.rates],
        "sessions": profile.sessions,
        "room": profile.room,
        "storm": profile.storm,
    }
    head = run.begin(bench, left_out, asked)
    return run.write(bench, head, bench.phases(only), Path(options.output))


def _profile(options: argparse.Namespace) -> "Profile":
    """Returns the quick or the full profile, with the amounts that the options override."""
    from sigbridge_bench.run import FULL, QUICK

    profile = QUICK if options.quick else FULL
    for name in ("pairs", "messages", "sessions", "room", "storm", "rates"):
        if getattr(options, name):
            profile = replace(profile, **{name: getattr(options, name)})
    if options.rounds:
        profile = replace(
            profile, rounds={**dict.fromkeys(profile.rounds, options.rounds), "echo": profile.rounds["echo"]}
        )
    return profile


# A server that runs already.


def _attached(options: argparse.Namespace) -> "tuple[AttachedServer | None, list[Subject], list[str]]":
    """Returns the running server at the given addresses, what is measured of it, and texts on what is left out.

    The server is asked for its health at each address first. None and nothing if no address is given.

    :raises BenchError: if the server does not respond, its process cannot be seen, or an option lacks its address
    """
    import asyncio

    from sigbridge_bench.load import Endpoint
    from sigbridge_bench.servers import AttachedServer, Subject, pairings
    from sigbridge_net.access import read_token

    if not options.grpc and not options.ws:
        if options.pid or options.token_file:
            raise BenchError("--pid and --token-file say something of a server that --grpc or --ws names")
        return None, [], []
    token = read_token(options.token_file) or ""
    tokens = (token,) if token else ()
    endpoints: dict[Protocol, Endpoint] = {}
    left_out = []
    if options.grpc:
        host, port, _ = _address(f"grpc://{options.grpc}", "--grpc", options.grpc)
        endpoints["grpc"] = Endpoint("grpc", host, port, tokens)
        asyncio.run(_ask(f"grpc://{options.grpc}", token))
    if options.ws:
        host, port, path = _address(options.ws, "--ws", options.ws)
        endpoints["websocket"] = Endpoint("ws", host, port, tokens, path)
        asyncio.run(_ask(options.ws, token))
    for name, given in (("gRPC: no --grpc", options.grpc), ("WebSocket: no --ws", options.ws)):
        if not given:
            left_out.append(f"{name} is given")
    if options.pid is None:
        left_out.append("the server's CPU time and memory: no --pid is given")
    protocols = tuple(endpoints)
    server = AttachedServer(ATTACHED, endpoints, options.pid)
    try:
        server.cpu()
        server.resident()
    except OSError as error:
        raise BenchError(f"process {options.pid} cannot be seen: {error.strerror}") from None
    return server, [Subject(ATTACHED, protocols, pairings(protocols))], left_out


def _address(url: str, option: str, given: str) -> tuple[str, int, str]:
    """Returns the numeric host, the port and the path of a URL without TLS.

    :raises BenchError: if it has another form, asks for TLS, or its host is unknown
    """
    import socket
    from urllib.parse import urlsplit

    expected = "HOST:PORT" if option == "--grpc" else "ws://HOST:PORT"
    try:
        parts = urlsplit(url)
        port, name = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        raise BenchError(f"{option} is {given!r}: expected {expected}") from None
    if parts.scheme in ("wss", "grpcs", "https") or "://" in given.removeprefix("ws://"):
        raise BenchError(f"{option} is {given!r}: the load speaks no TLS; expected a server's plain address")
    if parts.scheme not in ("grpc", "ws") or not name or (parts.scheme == "grpc" and not port):
        raise BenchError(f"{option} is {given!r}: expected {expected}")
    port = port or 80
    *_, numeric = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    return str(numeric[0]), port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


async def _ask(url: str, token: str) -> None:
    """Asks a signaling server for its health, as a benchmark does first.

    :raises BenchError: if no signaling server responds there, or it refuses these credentials.
    """
    import asyncio

    from sigbridge_client import connect

    try:
        async with asyncio.timeout(CONNECT_SECONDS), await connect(url, resume=False, token=token or None) as client:
            await client.list_peers(page_size=1)
    except TimeoutError:
        raise BenchError(f"{url} does not respond like a signaling server within {CONNECT_SECONDS:.0f} s") from None


# Reading.


def print_report(options: argparse.Namespace) -> int:
    """Prints or writes the report of a run; returns the exit code.

    :raises BenchError: if the file has no such run.
    """
    from sigbridge_bench import figures, plots, report

    records = _read(options.file)
    if options.run_id:
        found = figures.runs(records)
        if options.run_id not in found:
            raise BenchError(f"{options.file} has no run {options.run_id}: it has {', '.join(found) or 'none'}")
        chosen = found[options.run_id]
    else:
        chosen = figures.last_run(records)
    if not chosen:
        raise BenchError(f"{options.file} has no run")
    folder = Path(options.plots) if options.plots else None
    if options.markdown:
        Path(options.markdown).write_text(report.markdown(chosen, folder), encoding="utf-8")
    if options.html:
        Path(options.html).write_text(report.html(chosen), encoding="utf-8")
    if folder is not None:
        plots.write(chosen, folder)
    if not (options.markdown or options.html or folder):
        print(report.table(chosen), end="")
    return 0


def print_comparison(options: argparse.Namespace) -> int:
    """Prints what changed from the last run of one file to the last of another; returns the exit code.

    :raises BenchError: if a file has no run.
    """
    from sigbridge_bench import figures
    from sigbridge_bench.compare import compare

    runs = []
    for name in (options.before, options.after):
        runs.append(figures.last_run(_read(name)))
        if not runs[-1]:
            raise BenchError(f"{name} has no run")
    print(compare(*runs).rstrip("\n"))
    return 0


# Pairs.


def print_pairs(options: argparse.Namespace) -> int:
    """Measures two builds beside each other and prints their ratios; returns the exit code."""
    from sigbridge_bench import pair_records, pair_report
    from sigbridge_bench.load import LoadError, build
    from sigbridge_bench.pair import Comparison
    from sigbridge_bench.pair_builds import build_at

    comparison = Comparison(
        plan=_pair_plan(options),
        tokens=_tokens(options.tokens),
        variables={"A": _variables("--set-a", options.set_a), "B": _variables("--set-b", options.set_b)},
        resumable=_resumable(options.resumable),
        builds={"A": build_at(options.a), "B": build_at(options.b)},
    )
    comparison.check()
    try:
        build()
    except LoadError as error:
        print(f"sigbridge: {error}", file=sys.stderr)
        return 2
    if options.json:
        pair_records.keep(Path(options.json), [])  # a file that cannot be written is found now, and not after minutes
    signal.signal(signal.SIGTERM, _end)
    print(pair_report.heading(comparison), end="\n\n", flush=True)
    try:
        samples = comparison.measure()
    except LoadError as error:
        print(f"sigbridge: {error}", file=sys.stderr)
        return 1
    found = pair_report.estimates(samples)
    print(pair_report.tables(samples, found), end="")
    if options.json:
        pair_records.keep(Path(options.json), pair_records.records(comparison, samples, found))
    too_slow = [] if options.limit is None else pair_report.slower(found, options.limit)
    for figure in too_slow:
        print(f"sigbridge: {figure}: B takes more than {options.limit:g} % more than A", file=sys.stderr)
    return 1 if too_slow else 0


def _pair_plan(options: argparse.Namespace) -> "pair_plan.Plan":
    """Returns the plan of a comparison, as the options change it.

    :raises BenchError: if this system is not Linux, or an option has a value that is not possible
    """
    from sigbridge_bench import pair_plan

    if not sys.platform.startswith("linux"):
        raise BenchError("the benchmark needs Linux, whose kernel it asks for CPU time and memory")
    if options.engine not in pair_plan.ENGINES:
        raise BenchError(f"--engine is {options.engine!r}: expected one of {', '.join(pair_plan.ENGINES)}")
    plan = pair_plan.planned(options.engine, quick=options.quick)
    whats = (*pair_plan.WHATS, pair_plan.RETURNS) if options.resumable else pair_plan.WHATS
    plan = replace(
        plan,
        only=cast("list[pair_plan.What]", _chosen("--only", options.only, whats)),
        ways=_chosen("--pairings", options.pairings, plan.ways),
    )
    for name in ("generations", "rounds", "messages", "sessions"):
        if getattr(options, name):
            plan = replace(plan, **{name: getattr(options, name)})
    if plan.generations < 2:
        raise BenchError("--generations is 1: an interval needs two or more")
    return plan


def _read(name: str) -> "list[Record]":
    """Returns the records of a file that `sigbridge bench` wrote.

    :raises BenchError: if the file is of another form
    """
    import msgspec

    from sigbridge_bench.records import read

    try:
        return read(Path(name))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{name} is not what `sigbridge bench` writes: {error}") from None


# Words.


def _positive(text: str) -> int:
    """Parses a whole number of 1 or more.

    :raises ValueError: if the text is no such number
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _rates(text: str) -> tuple[float, ...]:
    """Parses rates, separated by commas, in messages per second.

    :raises ValueError: if one is no number, not positive, or 10 million or more
    """
    rates = tuple(float(part) for part in text.split(","))
    if not all(0 < rate < 1e7 for rate in rates):
        raise ValueError(text)
    return rates


def _chosen(option: str, text: str | None, known: Sequence[str]) -> list[str]:
    """Returns the names in a comma-separated list; all of those known if the list is empty.

    :raises BenchError: if a name is unknown
    """
    if not text:
        return list(known)
    asked = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        raise BenchError(f"{option} is {text!r}: expected some of {', '.join(known)}")
    return asked


def _tokens(name: str | None) -> tuple[str, ...]:
    """Returns the API tokens in a file.

    :raises BenchError: if it cannot be read, or holds none
    """
    if name is None:
        return ()
    try:
        tokens = tuple(Path(name).read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        tokens = ()
    if not tokens:
        raise BenchError(f"--tokens is {name!r}: expected a file with a token to a line")
    return tokens


def _resumable(text: str) -> "list[Name]":
    """Returns the names of the builds, A or B, whose sessions are resumable.

    :raises BenchError: if a letter names no build
    """
    if set(text.lower()) - {"a", "b"}:
        raise BenchError(f"--resumable is {text!r}: expected a, b or ab")
    return cast("list[Name]", sorted(set(text.upper())))


def _variables(option: str, given: Sequence[str]) -> dict[str, str]:
    """Returns the environment variables in words of the form NAME=VALUE.

    :raises BenchError: if a word has another form
    """
    variables = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise BenchError(f"{option} is {text!r}: expected NAME=VALUE, the name of letters, digits and _")
        if not value.isprintable():
            raise BenchError(f"{option} is {text!r}: expected a value that can be printed in a line")
        variables[name] = value
    return variables


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """A signal must end the servers, too."""
    raise SystemExit(128 + number)

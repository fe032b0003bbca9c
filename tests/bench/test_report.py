"""Report on a run: its figures stand where they belong, on every kind of page, and its plots can be read."""

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from sigbridge_bench import figures, plots, rendering, report
from sigbridge_bench.figures import RANGE, TIMES, Cell, Key, Spread, number
from sigbridge_bench.records import (
    Ceiling,
    Cpu,
    Disturbance,
    Echo,
    Join,
    Latency,
    Record,
    Run,
    Sessions,
    Stall,
    Storm,
    WholeCall,
    WithoutIo,
)

RUN = "2026-01-02T03:04:05Z"
SVG = "{http://www.w3.org/2000/svg}"


def cpu(
    server: str,
    pairing: str,
    microseconds: float | None,
    round: int = 0,
    *,
    message: Literal["offer", "candidate", "call"] = "offer",
    in_flight: int = 8,
    seconds: float = 0.1,
    load: float = 0.01,
) -> Cpu:
    return Cpu(
        run=RUN,
        server=server,
        round=round,
        pairing=pairing,
        message=message,
        in_flight=in_flight,
        pairs=4,
        messages=1000,
        seconds=seconds,
        server_cpu=None if microseconds is None else microseconds * 1000 / 1e6,
        load_cpu=load,
        bytes_to_server=1_234_000,
        bytes_from_server=2_345_000,
    )


def latency(server: str, rate: float, p50: float, round: int = 0, *, undelivered: int = 0) -> Latency:
    return Latency(
        run=RUN,
        server=server,
        round=round,
        pairing="websocket-websocket",
        message="candidate",
        rate=rate,
        messages=1000,
        undelivered=undelivered,
        p50=p50,
        p90=2 * p50,
        p99=4 * p50,
        p999=8 * p50,
        load_behind=0.00025,
    )


def a_run(rounds: int = 3) -> list[Record]:
    records: list[Record] = [
        Run(
            run=RUN,
            commit="abc123+",
            machine={"processor": "One & <Two>", "cores": "2"},
            versions={"sigbridge": "0.1.0", "ws": "8.18"},
            options={"rounds": rounds, "servers": ["sigbridge", "ws"], "quick": False, "label": None, "limit": 0.05},
            left_out=["peerjs: npm | is missing"],
        )
    ]
    for number_of_round in range(rounds):
        common = {"run": RUN, "round": number_of_round}
        for server, pairing, cost in (
            ("sigbridge", "websocket-websocket", 40),
            ("sigbridge", "grpc-grpc", 60),
            ("sigbridge", "grpc-websocket", 75),
            ("sigbridge-grpcio", "grpc-grpc", 150),
            ("ws", "websocket-websocket", 80),
            ("grpc-js", "grpc-grpc", 120),
            ("grpc.aio", "grpc-grpc", 100),
            ("tcp", "tcp-tcp", 8),
            ("peerjs", "websocket-websocket", 90),
        ):
            records.append(cpu(server, pairing, cost + number_of_round, number_of_round))
            if server != "peerjs":  # which relays offers only
                records += [cpu(server, pairing, cost / 2, number_of_round, message="call")]
        for server in ("sigbridge", "ws"):
            records += [
                latency(server, rate, rate * 1e-7 * (1 + number_of_round), number_of_round) for rate in (500, 5000)
            ]
            for by, factor in (("nobody", 1), ("resets", 2), ("pings", 1.5), ("batch", 20), ("listing", 10)):
                records.append(
                    Disturbance(
                        server=server,
                        pairing="websocket-websocket",
                        by=by,
                        rate=1000,
                        messages=100,
                        p50=0.0001 * factor,
                        p99=0.0004 * factor,
                        **common,
                    )
                )
            for listeners, factor in (("none", 1), ("reading", 2), ("stalled", 3)):
                records.append(
                    Stall(
                        server=server,
                        pairing="grpc-websocket",
                        peers=1000,
                        listeners=listeners,
                        rate=1000,
                        messages=100,
                        p50=0.0001 * factor,
                        p99=0.0004 * factor,
                        bytes_from_server=1,
                        **common,
                    )
                )
            records += [
                Ceiling(
                    server=server,
                    pairing="websocket-websocket",
                    message="candidate",
                    limit=0.01,
                    kept=9000,
                    left=None if server == "ws" else 9900,
                    **common,
                ),
                Sessions(
                    server=server,
                    protocol="websocket",
                    sessions=1000,
                    seconds=0.5,
                    server_cpu=0.25,
                    memory=(20 if server == "sigbridge" else 10) * 1024 * 1000,
                    **common,
                ),
                Join(server=server, protocol="websocket", sessions=1000, seconds=0.0225, server_cpu=None, **common),
                WholeCall(server=server, pairing="websocket-websocket", calls=50, p50=0.0015, p99=0.0035, **common),
            ]
        records += [
            Storm(
                server="sigbridge",
                protocol="grpc",
                sessions=8000,
                rate=500,
                seconds=2.5 + number_of_round,
                messages=1000,
                p50=0.001,
                p99=0.02,
                load_behind=0.0004,
                **common,
            ),
            Echo(server="echo", messages=100_000, seconds=0.5, load_cpu=0.4, **common),
            WithoutIo(
                server="sigbridge",
                pairing="websocket-websocket",
                message="offer",
                messages=1000,
                server_cpu=0.0041,
                **common,
            ),
        ]
    return records


def row(text: str, *starts: str) -> str:
    """The first line that begins with these words, in this order."""
    pattern = re.compile(r"\W*" + r"\W+".join(map(re.escape, starts)) + r"\s")
    return next(line for line in text.splitlines() if pattern.match(line))


def typed(text: str) -> str:
    """A text with the signs that keyboards have."""
    return text.replace(RANGE, "-").replace(TIMES, "x")


def part(markdown: str, title: str) -> str:
    """The part of a page under a heading."""
    return markdown.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table_of(markdown: str, caption: str) -> str:
    return markdown.partition(f"**{caption}**\n\n")[2].partition("\n\n")[0]


# Figures.


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (1.2, "1.20"),
        (9.999, "10.0"),
        (99.96, "100"),
        (12345, "12,300"),
        (-4.567, "-4.57"),
        (math.inf, "-"),
    ],
)
def test_a_number_has_three_significant_digits(value: float, shown: str) -> None:
    assert typed(number(value)) == shown


def test_a_figure_stands_with_its_range_where_there_is_one() -> None:
    assert Spread.of({0: 3.0, 1: 1.0, 2: 2.0}).text().replace(RANGE, "-") == "2.00 (1.00-3.00)"
    assert Spread.of({0: 3.0, 1: 3.0}).text().replace(RANGE, "-") == "3.00"


def test_the_runs_of_a_file_are_told_apart_and_the_last_began_last() -> None:
    first, second = (
        a_run(1)[0],
        Run(run="2026-02-01T00:00:00Z", commit="", machine={}, versions={}, options={}, left_out=[]),
    )
    records = [second, first, cpu("ws", "websocket-websocket", 1)]
    assert list(figures.runs(records)) == [second.run, first.run]
    assert figures.last_run(records) == [second]
    assert figures.last_run([]) == []
    for made in (report.table, report.html, lambda several: report.markdown(several, None)):
        with pytest.raises(ValueError, match="2 runs"):
            made(records)


def test_a_ratio_is_made_round_by_round() -> None:
    # The third round was slow for both.
    found = figures.figures(
        cpu(server, "websocket-websocket", cost, number_of_round)
        for server, costs in (("sigbridge", (10, 11, 50)), ("ws", (20, 22, 100)))
        for number_of_round, cost in enumerate(costs)
    )
    cell = Cell(figures.CPU, Key("websocket-websocket", "offer", (8, 4), "sigbridge"))
    assert figures.ratio_in_report(found, cell) == pytest.approx({0: 0.5, 1: 0.5, 2: 0.5})
    assert figures.ratio_in_report(found, cell._replace(key=cell.key._replace(server="ws"))) == {}


def test_a_mixed_pairing_is_compared_with_our_own_in_a_report_and_with_the_baselines_between_runs() -> None:
    found = figures.figures(a_run(1))
    cell = Cell(figures.CPU, Key("grpc-websocket", "offer", (8, 4), "sigbridge"))
    assert figures.ratio_in_report(found, cell) == pytest.approx({0: 75 / 50})
    assert figures.ratio_between_runs(found, cell) == pytest.approx({0: 75 / 100})


def test_resumable_sessions_are_compared_with_the_same_row_of_the_others_and_a_resume_with_its_set_up() -> None:
    set_up = {"run": RUN, "round": 0, "protocol": "websocket", "sessions": 10, "seconds": 1.0, "memory": None}
    found = figures.figures(
        [
            cpu("sigbridge", "grpc-websocket", 50),
            cpu("sigbridge-resumable", "grpc-websocket", 60),
            Sessions(server="sigbridge", server_cpu=0.2, **set_up),
            Sessions(server="sigbridge-resumable", server_cpu=0.25, resume_cpu=0.3, **set_up),
        ]
    )
    cell = Cell(figures.CPU, Key("grpc-websocket", "offer", (8, 4), "sigbridge-resumable"))
    resume = Cell(figures.RESUME_CPU, Key("websocket", "", (10,), "sigbridge-resumable"))
    for ratio in (figures.ratio_in_report, figures.ratio_between_runs):
        assert ratio(found, cell) == pytest.approx({0: 60 / 50})
        assert ratio(found, resume) == pytest.approx({0: 0.3 / 0.2})


# Pages.


def test_the_pages_table_of_cpu_has_medians_ranges_and_ratios_in_place() -> None:
    table = table_of(part(typed(report.markdown(a_run(), None)), "CPU per relay"), "offer, 8 in flight, 4 pairs")
    rows = {
        tuple(cells[:2]): cells[2:] for cells in (re.split(r" *\| *", line.strip("| ")) for line in table.splitlines())
    }
    assert rows["pairing", "server"][:2] == ["CPU per relay, µs", "ratio to baseline"]
    assert rows["WebSocket → WebSocket", "sigbridge"][:3] == ["41.0 (40.0-42.0)", "0.51x (0.50-0.51)", "10.0"]
    assert rows["gRPC → gRPC", "sigbridge"][:2] == ["61.0 (60.0-62.0)", "0.50x (0.50-0.51)"]
    assert rows["gRPC → gRPC", "sigbridge-grpcio"][1] == "1.50x (1.49-1.50)"
    assert rows["gRPC → WebSocket", "sigbridge"][1] == "1.49x (1.48-1.50)"
    assert rows["WebSocket → WebSocket", "ws"][:2] == ["81.0 (80.0-82.0)", ""]


@pytest.mark.parametrize(
    ("server_cpu", "load", "limit"),
    [(95.0, 0.05, "server"), (40.0, 0.095, "load"), (40.0, 0.05, "neither"), (None, 0.09, "load")],
)
def test_the_limit_is_who_had_no_time_left(server_cpu: float | None, load: float, limit: str) -> None:
    text = typed(report.table([cpu("sigbridge", "grpc-grpc", server_cpu, load=load)]))
    assert row(text, "gRPC", "gRPC", "sigbridge").split()[-1] == limit


def test_what_cannot_be_seen_is_a_gap_beside_what_can() -> None:
    text = typed(report.table([cpu("sigbridge", "grpc-grpc", None), cpu("grpc-js", "grpc-grpc", 10.0)]))
    assert row(text, "gRPC", "gRPC", "sigbridge").split()[4:] == ["-", "10.0", "-", "10", "%", "-"]


def test_sessions_are_told_apart_by_their_headers() -> None:
    def sessions(headers: str, protocol: Literal["grpc", "websocket"], server_cpu: float) -> Sessions:
        return Sessions(
            run=RUN,
            server="sigbridge",
            round=0,
            protocol=protocol,
            headers=headers,
            sessions=10,
            seconds=1,
            server_cpu=server_cpu,
            memory=10240 if headers in ("", "grpcio") else None,
        )

    of = [sessions("plain", "grpc", 1e-3), sessions("", "websocket", 2e-3), sessions("grpcio", "grpc", 3e-3)]
    page = part(typed(report.markdown(of, None)), "Sessions")
    memory, _, set_up = page.partition("**Setting one up**")
    assert "| 10 | gRPC | sigbridge | 1.00 |" in memory
    assert memory.count("| sigbridge |") == 2
    assert [line.split(" | ")[1] for line in set_up.splitlines() if "sigbridge" in line] == [
        "WebSocket",
        "gRPC, grpcio's headers",
        "gRPC, plain headers",
    ]
    assert "the headers of grpcio's client" in page
    assert "headers" not in part(typed(report.markdown([sessions("", "grpc", 1e-3)], None)), "Sessions")


def test_every_section_says_its_figures() -> None:
    page = typed(report.markdown(a_run(), None))
    assert re.search(r"\| sigbridge \| 5,000 \| 1.0 \(0.50-1.5\) \| 2.0 \(1.0-3.0\) \| 4.0 \(2.0-6.0\) \|", page)
    assert "**candidate, 99th percentile below 10.0 ms**" in page
    assert "| WebSocket → WebSocket | sigbridge | 9,000 | 1.00x | 9,900 |" in part(page, "Ceiling")
    assert "| WebSocket → WebSocket | ws | 9,000 |  | - |" in part(page, "Ceiling")
    assert "| WebSocket → WebSocket | sigbridge | 1,234 | 2,345 | 22.21 | 42.21 |" in part(page, "Bytes on the wire")
    assert "| 1,000 | WebSocket | sigbridge | 20.0 | 2.00x |" in part(page, "Sessions")
    assert "| 1,000 | WebSocket | sigbridge | 2,000 | 250 | 1.00x |" in part(page, "Sessions")
    assert "| 1,000 | WebSocket | sigbridge | 22.5 | 1.00x |" in part(page, "Joining a full room")
    assert "| 8,000 | 500 | gRPC | sigbridge | 3.50 (2.50-4.50) | 1.00 | 20.0 | 0.40 |" in part(
        page, "A storm of connections"
    )
    assert "| 50 | WebSocket → WebSocket | sigbridge | 1.50 | 1.00x | 3.50 |" in part(page, "A whole call")
    disturbed = part(page, "Beside a client that misbehaves")
    assert "| WebSocket → WebSocket | sigbridge | 1,000 | resets | 0.200 | 0.800 | 2.00x |" in disturbed
    assert "| WebSocket → WebSocket | sigbridge | 1,000 | nobody | 0.100 | 0.400 |  |" in disturbed
    assert "| WebSocket → WebSocket | sigbridge | 1,000 | batch | 2.00 | 8.00 | 20.00x |" in disturbed
    words = ("nobody |", "pings |", "resets |", "batch |", "listing |")
    assert sorted(words, key=disturbed.index) == list(words)
    stalled = part(page, "Beside peers that do not read")
    assert "| 1,000 | gRPC → WebSocket | sigbridge | 1,000 | stalled | 0.300 | 1.20 | 3.00x | 1.50x |" in stalled
    assert "| 1,000 | gRPC → WebSocket | sigbridge | 1,000 | none | 0.100 | 0.400 |  | 0.50x |" in stalled
    assert "200,000 echoes per second, 20 times as many as the fastest server relayed" in part(
        page, "What the load can do"
    )
    assert "| offer | WebSocket → WebSocket | sigbridge | 4.10 | 10 % |" in part(page, "Without I/O")


def test_what_was_not_measured_has_no_section() -> None:
    records: list[Record] = [Echo(run=RUN, server="echo", round=0, messages=10, seconds=1, load_cpu=0.1)]
    assert [section.name for section in report.sections(records)] == ["echo"]
    assert "CPU PER RELAY" not in report.table(records)
    assert "<svg" not in report.html(records)
    assert plots.plots(records) == []
    for page in (report.table([]), report.markdown([], None), report.html([])):
        assert "not recorded" in page


@pytest.mark.parametrize("rounds", [1, 5])
def test_no_line_for_a_terminal_is_too_long_and_none_is_empty_at_its_end(rounds: int) -> None:
    records = [
        *a_run(rounds),
        cpu("a-server-with-a-name-that-takes-most-of-the-room-there-is-" * 3, "grpc-websocket", 12.3),
    ]
    lines = report.table(records).splitlines()
    assert max(map(len, lines)) <= rendering.WIDTH
    assert all(line == line.rstrip() for line in lines)


def test_a_page_of_markdown_says_what_ran_where_and_shows_plots_beside_it(tmp_path: Path) -> None:
    page = typed(report.markdown(a_run(), Path("docs/plots")))
    assert "- Commit: abc123+ (+: with changes)" in page
    assert "- Machine: processor One & <Two>, cores 2" in page
    assert "- Asked for: rounds 3; servers sigbridge, ws; quick no; label -; limit 0.05" in page
    assert "- peerjs: npm | is missing" in page
    linked = re.findall(r"!\[[^]]+\]\(plots/([\w.-]+\.svg)\)", page)
    assert sorted(linked) == sorted(path.name for path in plots.write(a_run(), tmp_path / "docs" / "plots"))
    assert "![" not in report.markdown(a_run(), None)
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_a_page_of_html_stands_alone() -> None:
    page = typed(report.html(a_run()))
    assert page.startswith("<!doctype html>")
    for reference in ("http:", "https:", "//", "url(", "@import", "<script", "<link", "<img", " src="):
        assert reference not in page.replace('xmlns="http://www.w3.org/2000/svg"', ""), reference
    assert "prefers-color-scheme: dark" in page
    assert "One &amp; &lt;Two&gt;" in page
    assert "<Two>" not in page
    assert '<th scope="row">sigbridge</th><td>41.0 (40.0-42.0)</td><td>0.51x (0.50-0.51)</td>' in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in ids
    body = page.partition("<body>")[2].partition("</body>")[0]
    ET.fromstring(
        f"<body>{body.replace('class=ours', '').replace('class=figure', '')}</body>"
    )  # every element is closed


# Plots.


def texts(svg: ET.Element) -> list[str]:
    return ["".join(element.itertext()) for element in svg.iter(f"{SVG}text")]


def numbers_of(svg: ET.Element) -> list[float]:
    drawn = [
        value
        for element in svg.iter()
        for name in ("d", "x", "y", "width", "height")
        if (value := element.get(name)) is not None
    ]
    assert not any("nan" in value or "inf" in value for value in drawn)
    return [float(found) for value in drawn for found in re.findall(r"-?\d+\.?\d*", value)]


def test_every_plot_is_a_file_that_can_be_read_and_heard(tmp_path: Path) -> None:
    written = plots.write(a_run(), tmp_path / "made" / "here")
    assert {path.name for path in written} == {
        "cpu-offer.svg",
        "cpu-call.svg",
        "latency-candidate-websocket-websocket.svg",
        "wire-offer.svg",
        "wire-call.svg",
        "memory.svg",
    }
    for path in written:
        svg = ET.fromstring(path.read_text(encoding="utf-8"))
        title, description = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
        assert svg.get("role") == "img"
        assert title is not None
        assert description is not None
        assert svg.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert "sigbridge" in (description.text or "")
        assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")
        assert max(numbers_of(svg)) <= max(900, float(svg.get("height") or 0))


def test_the_bars_are_as_long_as_their_figures_and_say_them(tmp_path: Path) -> None:
    plot = next(plot for plot in plots.plots(a_run()) if plot.name == "cpu-offer")
    svg = ET.fromstring(typed(plot.file_text()))
    bars = {}
    for group in svg.iter(f"{SVG}g"):
        says, bar = group.findtext(f"{SVG}title") or "", group.find(f"{SVG}rect")
        assert bar is not None
        bars[says] = float(bar.get("width") or 0)
    assert bars["grpc-js: 121 (120-122)"] == pytest.approx(bars["sigbridge: 61.0 (60.0-62.0)"] * 121 / 61, rel=0.01)
    assert "41.0 (40.0-42.0)" in texts(svg)


def drawn(*lines: plots.Line, panels: int = 2) -> ET.Element:
    return ET.fromstring(plots.line_chart("x", "X", "says", ("x", "y"), [plots.Panel("panel", lines)] * panels))


def test_one_point_alone_is_drawn() -> None:
    svg = drawn(plots.Line("sigbridge", [plots.Point(1000, Spread(1.0, 1.0, 1.0, 1))]))
    assert "1,000" in texts(svg)
    assert all(value >= 0 for value in numbers_of(svg) if value > 20)


def test_what_has_no_place_on_a_logarithmic_axis_is_left_out_and_said() -> None:
    points = [
        plots.Point(100, Spread(0, 0, 0, 1)),
        plots.Point(200, Spread(5.0, 0.0, 6.0, 3)),
        plots.Point(0, Spread(1, 1, 1, 1)),
        plots.Point(400, Spread(math.inf, 1, math.inf, 3)),
    ]
    svg = drawn(plots.Line("ws", points), panels=1)
    numbers_of(svg)
    assert any(text.endswith("nought: 3 of the points.") for text in texts(svg))
    assert [
        typed(group.findtext(f"{SVG}title") or "")
        for group in svg.iter(f"{SVG}g")
        if group.find(f"{SVG}title") is not None
    ] == ["ws, 200: 5.00 (0-6.00)"]


def test_a_chart_of_nothing_but_noughts_is_drawn() -> None:
    bar = plots.Bar("sigbridge", [plots.Part("", 0.0)], 0.0, 0.0, "0")
    numbers_of(ET.fromstring(plots.bar_chart("x", "X", "says", "µs", [plots.Group("g", [bar])])))
    numbers_of(ET.fromstring(plots.bar_chart("x", "X", "says", "µs", [])))
    numbers_of(drawn(plots.Line("sigbridge", [])))


def test_a_long_name_is_cut_to_its_room_and_whole_where_the_pointer_rests() -> None:
    name = "a server & its <very> long name, which has no room beside a bar or in a legend"
    bar = plots.Bar(name, [plots.Part("", 2.0)], 1.0, 3.0, "2.00 (1.00-3.00)")
    for made in (
        plots.bar_chart("x", "X" * 300, "says", "µs", [plots.Group(name * 5, [bar])]),
        plots.line_chart(
            "x", "X", "s", ("x", "y"), [plots.Panel("p", [plots.Line(name, [plots.Point(1, Spread(1, 1, 1, 1))])])]
        ),
    ):
        svg = ET.fromstring(made)
        cut = [text for text in svg.iter(f"{SVG}text") if text.findtext(f"{SVG}title") == name]
        assert len(cut) == 1
        assert plots.width(cut[0].find(f"{SVG}title").tail or "") < 230  # type: ignore[union-attr]
        assert (cut[0].find(f"{SVG}title").tail or "").endswith("…")  # type: ignore[union-attr]


def test_servers_that_nobody_knows_differ_in_more_than_colour() -> None:
    names = ["sigbridge", "ws", "one", "two"]
    svg = drawn(*(plots.Line(name, [plots.Point(x, Spread(x, x, x, 1)) for x in (1, 2)]) for name in names), panels=1)
    dashes = {
        path.get("stroke-dasharray") or ""
        for path in svg.iter(f"{SVG}path")
        if path.get("class", "").startswith("line")
    }
    markers = {path.get("d") for path in svg.iter(f"{SVG}path") if path.get("transform")}
    assert len(dashes) == len(markers) == len(names)


@pytest.mark.parametrize(
    ("least", "most", "ticks"),
    [
        (1.0, 1.0, [0.5, 1, 2]),
        (3.0, 3.0, [2, 5]),
        (0.8, 4.0, [0.5, 1, 2, 5]),
        (500, 20000, [500, 1000, 2000, 5000, 10000, 20000]),
        (0.02, 900.0, [0.01, 0.1, 1, 10, 100, 1000]),
    ],
)
def test_ticks_of_a_logarithmic_axis(least: float, most: float, ticks: list[float]) -> None:
    assert plots.log_ticks(least, most) == pytest.approx(ticks)


@pytest.mark.parametrize("exponents", [(-9, 9), (-3, 12), (0, 1), (-6, -6), (2, 7)])
def test_ticks_hold_what_they_are_for_and_are_few(exponents: tuple[int, int]) -> None:
    for factor in (1.0, 1.1, 3.3, 9.9):
        least, most = factor * 10.0 ** exponents[0], factor * 10.0 ** exponents[1]
        ticks = plots.log_ticks(least, most)
        assert ticks[0] <= least * 1.000001
        assert ticks[-1] >= most * 0.999999
        assert 2 <= len(ticks) <= 12
        assert all(low < high for low, high in pairwise(ticks))


@pytest.mark.parametrize(
    ("most", "ticks"), [(0, [0, 1]), (1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (207, [0, 50, 100, 150, 200, 250]), (3e6, None)]
)
def test_ticks_of_a_linear_axis(most: float, ticks: list[float] | None) -> None:
    found = plots.linear_ticks(most)
    assert found[-1] >= most
    if ticks is not None:
        assert found == pytest.approx(ticks)

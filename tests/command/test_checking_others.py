"""`sigbridge check` against servers that differ, in one way or in many, and against some that are broken."""

import json
import re
from pathlib import Path

import pytest

from called import called
from deviating_server import ASKED, TOLD, BrokenAfter, deviating, saying, talking
from processes import clean_environment, said_by, sigbridge
from served import servers
from sigbridge_compat import deviations
from sigbridge_compat.scenarios import SCENARIOS

PAGE = Path(__file__).parents[2] / "docs" / "checking.md"

SOME = (
    "both_sides_learn_of_each_other",
    "the_roster_comes_in_the_order_of_joining",
    "the_reply_comes_before_the_roster",
    "an_answer_reaches_its_target",
    "an_offer_is_answered_once",
    "an_offer_reaches_its_target",
    "a_candidate_reaches_its_target",
    "kinds_of_messages_keep_their_order",
    "an_unknown_target_is_refused",
    "a_list_shows_the_room",
    "metadata_is_kept",
    "an_absent_type_means_the_usual_one",
    "closing_means_leaving",
    "a_room_can_be_listed_before_announcing",
    "rooms_do_not_see_each_other",
)
"""Scenarios that together meet every deviation; most are about none of them."""

CAUSES_MORE = {
    "list_peers before announce is refused": "refused where nothing may be: Not announced",
    # Where a second of the clock ends between two announces.
    "peers do not come in the order of joining": "expected: connected_at rises in the order of joining",
}
"""Other failures that a deviation may cause: the scenario about it cannot go on, or sees more of it."""


@pytest.fixture
async def ours():
    async with servers() as start:
        server = await start()
        yield f"ws://127.0.0.1:{server.websocket_port}"


async def check(*arguments):
    """Runs the command as a process."""
    async with sigbridge("check", *arguments, env=clean_environment(), limit_seconds=110) as process:
        return await said_by(process)


async def checked(capsys, url, *scenarios, dialect="plain", patience="5"):
    """Calls the command; returns its exit code, JSON and stderr."""
    chosen = [word for name in scenarios for word in ("--only", name)]
    words = ["--ws", url, "--dialect", dialect, "--json", "--patience", patience, *chosen]
    code, out, errors = await called(capsys, "check", *words)
    return code, json.loads(out), errors


@pytest.mark.parametrize("dialect", ["plain", "dotted"])
async def test_who_only_passes_on_what_ours_says_matches(ours, capsys, dialect):
    async with deviating(ours) as url:
        report = await checked(capsys, url, dialect=dialect, patience=PATIENT)
    assert report == (0, {"verdict": "matches", "differences": []}, "")


DOTTED_ALONE = "no success in the result of offer"


@pytest.mark.parametrize(
    "name",
    [
        DOTTED_ALONE,
        "no metadata in peer_joined",
        "no state in an entry of list_peers",
        "no offer_id in an offer",
        "no peer_joined for the peers that are there already",
        "another JSON-RPC code for NOT_FOUND: -32004",
        "no rooms",
    ],
)
async def test_differences_have_the_same_names_in_the_dotted_dialect(ours, capsys, name):
    async with deviating(ours, name) as url:
        code, report, _ = await checked(capsys, url, *SOME, dialect="dotted")
    assert code == 1
    assert [one["what"] for one in report["differences"]] == [name]


async def test_a_refusal_without_data_ends_no_scenario_of_the_dotted_dialect(ours, capsys):
    names = ("missing_fields_are_named", "why_somebody_leaves_is_told", "control_messages_need_a_call")
    async with deviating(ours, "no data in errors") as url:
        _, report, _ = await checked(capsys, url, *names, dialect="dotted")
    assert {one["what"] for one in report["differences"]} == {"no data in errors"}


@pytest.mark.parametrize("name", [name for name in (*TOLD, *ASKED) if name != DOTTED_ALONE])
async def test_a_deviation_is_named_and_ends_no_scenario(ours, capsys, name):
    async with deviating(ours, name) as url:
        code, report, _ = await checked(capsys, url, *SOME)
    assert (code, report["verdict"]) == (1, "differs")
    found = {one["what"]: one["scenarios"] for one in report["differences"]}
    assert name in found
    assert found.keys() - {name} <= {CAUSES_MORE.get(name)}
    for one in report["differences"]:
        assert one["count"] == len(one["scenarios"]) > 0
        assert {*one["scenarios"]} <= {*SOME}


@pytest.mark.parametrize(
    ("name", "subject", "other"),
    [
        ("peers_count counts the newcomer", "the_first_peer_finds_nobody", "closing_means_leaving"),
        ("no metadata in peer_joined", "metadata_is_kept", "closing_means_leaving"),
        ("no data in errors", "an_unknown_target_is_refused", "closing_means_leaving"),
        ("no rooms", "rooms_do_not_see_each_other", "closing_means_leaving"),
    ],
)
async def test_a_scenario_fails_where_the_deviation_is_its_subject(ours, name, subject, other):
    async with deviating(ours, name) as url:
        code, out, _ = await check("--ws", url, "--only", subject, "--only", other)
    rows = dict(line.split() for line in out.splitlines()[1:3])
    assert (code, rows[subject]) == (1, "FAILED")
    # Without rooms the other one meets nobody, since all have left before it begins.
    assert rows[other] == ("ok" if name == "no rooms" else "differs")
    assert re.search(rf"^ +\d scenarios?  {re.escape(name)}$", out, flags=re.MULTILINE)


SEVERAL = (
    "peers_count counts the newcomer",
    "no metadata in peer_joined",
    "no metadata in an entry of list_peers",
    "no connected_at in an entry of list_peers",
    "no peer_joined for the peers that are there already",
    "no data in errors",
    "username_fragment is dropped",
    "a candidate that names no media section arrives without one",
    "more members in the result of offer: success",
    "no rooms",
)
"""Deviations of the servers of the first generation."""


async def test_many_at_once_over_the_whole_suite(ours, capsys):
    async with deviating(ours, *SEVERAL) as url:
        code, out, errors = await called(capsys, "check", "--ws", url, "--patience", PATIENT)
        as_json = await called(capsys, "check", "--ws", url, "--patience", PATIENT, "--json")
    assert code == 1
    head, *rows = out.partition("\n\n")[0].splitlines()
    assert head.split() == ["scenario", "websocket-websocket"]
    known = [name for name, scenario in SCENARIOS.items() if not scenario.identities]
    assert [row.split()[0] for row in rows] == known
    assert {row.split()[1] for row in rows} == {"differs", "FAILED"}
    summary = re.search(r"^0 passed, (\d+) differ, (\d+) failed$", out, flags=re.MULTILINE)
    assert summary is not None
    assert int(summary[1]) + int(summary[2]) == len(rows)
    assert int(summary[1]) > int(summary[2])
    groups = re.findall(r"^ +(\d+) scenarios?  (.+)$", out.partition("differences:")[2], flags=re.MULTILINE)
    assert {what for _, what in groups} >= {*SEVERAL}
    assert [int(count) for count, _ in groups] == sorted((int(count) for count, _ in groups), reverse=True)
    assert "Traceback" not in errors
    code, out, errors = as_json
    report = json.loads(out)
    assert (code, report["verdict"], out.count("\n"), errors) == (1, "differs", 1, "")
    assert [(str(one["count"]), one["what"]) for one in report["differences"]] == groups
    assert report.keys() == {"verdict", "differences"}


async def test_peers_that_were_there_before_are_no_guests_where_there_are_no_rooms(ours, capsys):
    from sigbridge_client import connect

    async with deviating(ours, "no rooms") as url, await connect(url) as stranger:
        await stranger.announce("remotemedia-server")
        code, report, _ = await checked(capsys, url, *SOME)
    assert code == 1
    assert [one["what"] for one in report["differences"]] == ["no rooms"]


# Broken ones.


async def never(client):
    async for _ in client:
        pass


async def at_once(client):
    await client.close()


async def at_the_first_message(client):
    await client.recv()
    await client.close(1011, "no")


async def echo(client):
    async for text in client:
        await client.send(text)


async def nonsense(client):
    async for _ in client:
        await client.send("no JSON")


PATIENT = "30"
"""Patience with a server that breaks at once, which no busy machine uses up."""
SHORT = "3"
"""Patience with one that says nothing: all of it passes, so that it is no longer than a busy machine needs to connect."""


async def is_broken(capsys, why, *arguments, patience=PATIENT):
    """The command says so in text and in JSON, by its exit code, and why on stderr."""
    for words in ((), ("--json",)):
        code, out, errors = await called(capsys, "check", *arguments, "--patience", patience, *words)
        assert code == 2
        assert re.match(rf"sigbridge: the server cannot be checked: .*({why}).*\n", errors), errors
        if words:
            assert json.loads(out)["verdict"] == "broken"
            assert out.count("\n") == 1
        else:
            assert "0 passed" not in out


@pytest.mark.parametrize(
    ("answer", "why", "patience"),
    [
        (never, f"websocket: no response to announce within {SHORT} s|announce is not answered", SHORT),
        (at_once, "the session ends at announce", PATIENT),
        (at_the_first_message, "the session ends at announce: no", PATIENT),
        (echo, "no response to announce", SHORT),
        (nonsense, "the server sent an invalid message", PATIENT),
    ],
)
async def test_who_speaks_no_such_protocol_is_broken(answer, why, patience, capsys):
    async with talking(answer) as url:
        await is_broken(capsys, why, "--ws", url, patience=patience)


@pytest.mark.parametrize("text", [None, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b""])
async def test_who_speaks_only_http_or_nothing_is_broken(text, capsys):
    why = "no response to connect within 1 s|cannot connect|refused with HTTP 200"
    async with saying(text) as port:
        await is_broken(capsys, why, "--ws", f"ws://127.0.0.1:{port}", patience="1")
        await is_broken(capsys, why, "--grpc", f"127.0.0.1:{port}", patience="1")


async def test_who_is_not_there_is_broken(capsys):
    await is_broken(capsys, "cannot connect to ws://127.0.0.1:1", "--ws", "ws://127.0.0.1:1")
    # gRPC's client goes on trying for a while.
    await is_broken(
        capsys, "cannot connect to 127.0.0.1:1|no response to connect", "--grpc", "127.0.0.1:1", patience="1"
    )


async def test_who_asks_for_a_token_cannot_be_checked_without(capsys):
    async with servers() as start:
        server = await start(auth_tokens=("canary",))
        await is_broken(capsys, "unauthenticated", "--ws", f"ws://127.0.0.1:{server.websocket_port}")


@pytest.mark.parametrize("silent", [False, True], ids=["crashes", "hangs"])
async def test_who_breaks_in_the_middle_is_broken(ours, silent, capsys):
    name = "peers_count counts the newcomer"
    async with deviating(ours, name, broken=BrokenAfter(300, silent)) as url:
        words = ("--ws", url, "--patience", SHORT if silent else PATIENT, "--json")
        code, out, errors = await called(capsys, "check", *words)
    report = json.loads(out)
    assert (code, report["verdict"]) == (2, "broken")
    assert errors.startswith("sigbridge: the server cannot be checked: websocket: ")
    # What was found before is told all the same.
    assert next(one["count"] for one in report["differences"] if one["what"] == name) > 5


# The page.


def test_the_page_shows_an_object_as_it_is_printed():
    (text,) = re.findall(r"^\{.*\}$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    report = json.loads(text)
    assert report.keys() == {"verdict", "differences"}
    assert all(one["count"] == len(one["scenarios"]) for one in report["differences"])
    assert {name for one in report["differences"] for name in one["scenarios"]} <= SCENARIOS.keys()


def test_the_page_names_every_deviation():
    page = PAGE.read_text(encoding="utf-8")
    names = {value for name, value in vars(deviations).items() if name.isupper() and isinstance(value, str)}
    missing = {name for name in names - {deviations.BARE} if f"`{name}`" not in page}
    assert not missing


def test_what_a_scenario_proves_is_known():
    names = {value for name, value in vars(deviations).items() if name.isupper() and isinstance(value, str)}
    for scenario in SCENARIOS.values():
        assert scenario.proves <= names, scenario.name
    assert len({name for scenario in SCENARIOS.values() for name in scenario.proves}) > 20

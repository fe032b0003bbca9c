"""The token file: what it may say, what refuses it, and what a new content does to sessions."""

import hashlib
import json

import pytest

from clock import NOW
from sigbridge import Instant
from sigbridge.auth import ALL_RIGHTS, ANYBODY, Identity
from sigbridge.patterns import Patterns
from sigbridge.settings import SettingError
from sigbridge_auth.token_file import MAX_ENTRIES, MAX_FILE_BYTES, EntryProof, TokenFile
from sigbridge_auth.verdicts import BadToken

CANARY = "canary-3f9c51d2e8a7"


@pytest.fixture
def written(tmp_path):
    """Writes a token file; returns its path."""

    def write(content, name="tokens.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def lines(*entries):
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def facts(identity):
    return (
        identity.name,
        identity.peer_ids,
        identity.rooms,
        identity.rights,
        identity.expires_at,
        identity.leeway_seconds,
    )


def wrong(path):
    with pytest.raises(SettingError) as refused:
        TokenFile(path)
    message = str(refused.value)
    assert message.startswith(f"SIGNALING_TOKENS_FILE is {path!r}: ")
    assert "\n" not in message
    assert CANARY not in message
    return message.removeprefix(f"SIGNALING_TOKENS_FILE is {path!r}: ")


# What it may say.

JSON = f"""
# who may come

  {{"token": "one"}}
{{"token_sha256": "{hashlib.sha256(b"two").hexdigest().upper()}", "subject": "alice", "peer_ids": ["alice", "alice:*"],
"rooms": ["lobby", ""], "rights": ["relay", "list", "fly"], "expires": "2023-11-14T23:13:20.5+01:00"}}
{{"token": "dr\u00e9i", "peer_ids": [], "rooms": [], "rights": [], "expires": {NOW.unix + 1}}}\r
""".replace(",\n", ", ")
TOML = f"""
[[token]]
token = "one"

[[token]]
token_sha256 = "{hashlib.sha256(b"two").hexdigest()}"
subject = "alice"
peer_ids = ["alice", "alice:*"]
rooms = ["lobby", ""]
rights = ["relay", "list", "fly"]
expires = 2023-11-14 22:13:20.500Z

[[token]]
token = "dr\u00e9i"
peer_ids = []
rooms = []
rights = []
expires = {int(NOW.unix) + 1}
"""


@pytest.mark.parametrize(("content", "name"), [(JSON, "tokens"), (TOML, "tokens.toml"), (TOML, "T.TOML")])
def test_both_forms_say_the_same(content, name, written):
    tokens = TokenFile(written(content, name))
    assert len(tokens) == 3
    assert facts(tokens.identify("one", NOW)) == facts(ANYBODY)
    assert facts(tokens.identify("two", NOW)) == (
        "token:alice",
        Patterns(["alice", "alice:*"]),
        Patterns(["lobby", ""]),
        {"relay", "list"},
        1_700_000_000.5,
        0.0,
    )
    assert facts(tokens.identify("dréi", NOW)) == ("", Patterns([]), Patterns([]), frozenset(), NOW.unix + 1, 0.0)
    for other in ("", "One", "one ", "tw", "two\x00", "x" * 9000, "\udcff"):
        assert tokens.identify(other, NOW) is None


@pytest.mark.parametrize("name", ["tokens", "tokens.toml"])
@pytest.mark.parametrize("content", ["", "\n\n", "# nobody yet\n"])
def test_an_empty_file_is_a_list_of_none(content, name, written):
    assert len(TokenFile(written(content, name))) == 0


@pytest.mark.parametrize(
    "said",
    ["2023-11-14T22:13:20Z", "2023-11-14t22:13:20z", "2023-11-14 17:13:20-05:00", 1_700_000_000, 1_700_000_000.0],
)
def test_a_token_counts_until_it_expires_and_not_then(said, written):
    tokens = TokenFile(written(lines({"token": "one", "subject": "a", "expires": said})))
    assert tokens.identify("one", Instant(1.0, 1_699_999_999.9)).subject == "a"
    with pytest.raises(BadToken, match="has expired"):
        tokens.identify("one", Instant(1.0, 1_700_000_000.0))


def test_nothing_of_a_token_is_in_memory_or_in_a_text(written):
    tokens = TokenFile(written(lines({"token": CANARY, "subject": "a"})))
    identity = tokens.identify(CANARY, NOW)
    digest = hashlib.sha256(CANARY.encode()).digest()
    for shown in (repr(tokens), repr(identity), str(identity.proof), str(vars(tokens))):
        assert CANARY not in shown
    assert repr(digest) not in repr(identity)
    assert digest.hex() not in repr(identity)


# What refuses it.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("token", "not a JSON object, or one with a duplicate member"),
        (f'["{CANARY}"]', "not a JSON object, or one with a duplicate member"),
        (f'{{"token": "{CANARY}"', "not a JSON object, or one with a duplicate member"),
        (f'{{"token": "{CANARY}", "token": "{CANARY}"}}', "not a JSON object, or one with a duplicate member"),
        ('{"token": "x", "expires": NaN}', "not a JSON object, or one with a duplicate member"),
        ("[" * 100_000, "not a JSON object, or one with a duplicate member"),
        ('{"token": "x", "expires": ' + "9" * 5000 + "}", "not a JSON object, or one with a duplicate member"),
        (f'{{"{CANARY}": {{"subject": "a"}}}}', None),
        ('{"token": "x", "peer_id": "a"}', None),
        ('{"subject": "a"}', "expected either token or token_sha256"),
        ('{"token": "x", "token_sha256": "' + "0" * 64 + '"}', "expected either token or token_sha256"),
        *(
            (f'{{"token": {token}}}', "token: expected one line of printable text, without spaces around it")
            for token in ('""', "1", "null", '" x"', '"x\\n"', '"x\\ty"', '"\\ud800"', '["x"]')
        ),
        *(
            (f'{{"token_sha256": {digest}}}', "token_sha256: expected 64 hexadecimal digits")
            for digest in ('""', f'"{"0" * 63}"', f'"{"0" * 65}"', f'"{"g" * 64}"', "1", f'"{"0" * 63}\u0660"')
        ),
        *(
            (
                f'{{"token": "x", "subject": {subject}}}',
                "subject: expected text of at most 256 bytes, without control characters",
            )
            for subject in ('""', "1", "null", '"a\\n"', '"' + "é" * 129 + '"', '"\\ud800"')
        ),
        *(
            (f'{{"token": "x", "{name}": {value}}}', f"{name}: expected a list of texts")
            for name in ("peer_ids", "rooms", "rights")
            for value in ('"a"', "null", "[1]", "{}", '["a", null]')
        ),
        ('{"token": "x", "rooms": ["' + "a" * 257 + '"]}', "rooms: a pattern of more than 256 bytes"),
        ('{"token": "x", "peer_ids": ' + json.dumps(["a"] * 65) + "}", "peer_ids: more than 64 patterns"),
        *(
            (
                f'{{"token": "x", "expires": {value}}}',
                "expires: expected a time with its zone (RFC 3339) or Unix seconds",
            )
            for value in (
                "null",
                "true",
                "1e400",
                "1" + "0" * 400,
                '"2023-11-14T22:13:20"',
                '"2023-11-14"',
                '"2023-13-14T22:13:20Z"',
                '"20231114T221320Z"',
                '"1700000000"',
                '"tomorrow"',
            )
        ),
    ],
)
def test_a_bad_line_refuses_the_file_and_is_named(line, said, written):
    said = said or "an unknown member: expected token, token_sha256, subject, peer_ids, rooms, rights, expires"
    assert wrong(written(f'# first\n{{"token": "good"}}\n\n{line}\n')) == f"line 4: {said}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'[[token]]\ntoken = "{CANARY}\n', "line 2: no TOML"),
        (f'[[token]]\ntoken = "a"\ntoken = "{CANARY}"\n', "line 3: no TOML"),
        (f'[[token]]\ntoken = """{CANARY}', "no TOML"),
        (f'token = "{CANARY}"\n', "expected [[token]] tables, and nothing else beside them"),
        (f'token = ["{CANARY}"]\n', "expected [[token]] tables, and nothing else beside them"),
        (f'[token]\ntoken = "{CANARY}"\n', "expected [[token]] tables, and nothing else beside them"),
        (
            f'x = 1\n[[token]]\ntoken = "{CANARY}"\n',
            "expected [[token]] tables, and nothing else beside them",
        ),
        (
            f'[[token]]\ntoken = "a"\n[[token]]\n{CANARY} = 1\n',
            "table 2: an unknown member: expected token, token_sha256, subject, peer_ids, rooms, rights, expires",
        ),
        (
            '[[token]]\ntoken = "a"\nexpires = 2023-11-14T22:13:20\n',
            "table 1: expires: expected a time with its zone (RFC 3339) or Unix seconds",
        ),
        (
            '[[token]]\ntoken = "a"\nexpires = inf\n',
            "table 1: expires: expected a time with its zone (RFC 3339) or Unix seconds",
        ),
        (f'[[token]]\ntoken = "{CANARY}"\n[[token]]\ntoken = "{CANARY}"\n', "table 2: the same token as in table 1"),
    ],
)
def test_so_does_bad_toml(content, said, written):
    message = wrong(written(content, "tokens.toml"))
    # Newer Pythons know the line of an end, too.
    assert message == said or (said == "no TOML" and message.endswith(": no TOML"))


def test_a_token_stands_once_however_it_is_written(written):
    digest = hashlib.sha256(CANARY.encode()).hexdigest()
    content = lines({"token": "x"}, {"token": CANARY}, {"token_sha256": digest, "subject": "a"})
    assert wrong(written(content)) == "line 3: the same token as in line 2"


def test_what_is_no_text_or_too_much_or_not_there(written, tmp_path):
    assert wrong(written(b'{"token": "\xff"}')) == "is not UTF-8 text"
    assert wrong(written(b"#" * (MAX_FILE_BYTES + 1))) == f"is larger than {MAX_FILE_BYTES} bytes"
    assert wrong(str(tmp_path / "none")) == "cannot be read (No such file or directory)"
    assert wrong(str(tmp_path)) == "cannot be read (Is a directory)"


def test_there_are_only_so_many_tokens(written, monkeypatch):
    assert MAX_ENTRIES == 100_000
    monkeypatch.setattr("sigbridge_auth.token_file.MAX_ENTRIES", 3)
    three = [{"token": f"t{number}"} for number in range(3)]
    assert len(TokenFile(written(lines(*three)))) == 3
    assert wrong(written(lines(*three, {"token": "t3"}))) == "has more than 3 tokens"


# A new content.


@pytest.fixture
def changed(written):
    """Returns what `review` makes of the identity of an entry when the file says another one."""

    def change(before, *after):
        tokens = TokenFile(written(lines({"token": "t", **before})))
        identity = tokens.identify("t", NOW)
        written(lines({"token": "other"}, *({"token": "t", **entry} for entry in after)))
        content = tokens.read()
        assert tokens.identify("other", NOW) is None, "what is read does not count yet"
        tokens.put(content, NOW)
        assert tokens.identify("other", NOW) is not None
        return identity, tokens.review(identity)

    return change


FULL = {"subject": "a", "peer_ids": ["a", "a:*"], "rooms": ["r"], "rights": ["relay"], "expires": NOW.unix + 60}


@pytest.mark.parametrize(
    "after",
    [
        (),
        ({**FULL, "subject": "b"},),
        ({name: value for name, value in FULL.items() if name != "subject"},),
        ({**FULL, "peer_ids": ["a"]},),
        ({**FULL, "peer_ids": ["a:*"]},),
        ({**FULL, "peer_ids": []},),
        ({**FULL, "rooms": []},),
        ({**FULL, "rooms": ["s"]},),
        ({**FULL, "rights": []},),
        ({**FULL, "rights": ["list", "announce"]},),
        ({**FULL, "expires": NOW.unix + 59},),
        ({**FULL, "expires": NOW.unix + 59, "rights": ["relay", "list"]},),
    ],
)
def test_an_entry_that_is_gone_or_narrowed_revokes(after, changed):
    assert changed(FULL, *after)[1] is None


@pytest.mark.parametrize("lost", ["peer_ids", "rooms", "rights", "expires"])
def test_a_limit_where_there_was_none_revokes(lost, changed):
    assert changed({name: value for name, value in FULL.items() if name != lost}, FULL)[1] is None


@pytest.mark.parametrize(
    "wider",
    [
        {"peer_ids": ["a", "a:*", "b"]},
        {"peer_ids": ["*", "a:*"]},
        {"rooms": ["r*", "r"]},
        {"rights": ["list", "relay"]},
        {"expires": NOW.unix + 61},
    ],
)
def test_what_is_only_wider_is_had_at_once(wider, changed):
    _, reviewed = changed(FULL, {**FULL, **wider})
    (expected,) = changed({**FULL, **wider}, {**FULL, **wider})[1:]
    assert facts(reviewed) == facts(expected)
    assert facts(reviewed) != facts(changed(FULL)[0])


@pytest.mark.parametrize("dropped", ["peer_ids", "rooms", "rights", "expires"])
def test_a_limit_less_is_wider(dropped, changed):
    wider = {name: value for name, value in FULL.items() if name != dropped}
    _, reviewed = changed(FULL, wider)
    absent = {"peer_ids": None, "rooms": None, "rights": ALL_RIGHTS, "expires": None}[dropped]
    assert getattr(reviewed, "expires_at" if dropped == "expires" else dropped) == absent


def test_what_has_not_changed_stays_the_same_object(changed):
    for entry in (FULL, {}):
        identity, reviewed = changed(entry, entry)
        assert reviewed is identity
    identity, reviewed = changed(FULL, {**FULL, "peer_ids": ["a:*", "a"], "rights": ["relay", "relay", "unknown"]})
    assert reviewed is identity, "the order, what is said twice, and words that grant nothing change nothing"


def test_identities_of_other_sources_are_returned_as_they_are(written):
    tokens = TokenFile(written(""))
    for identity in (ANYBODY, Identity("a", source="token"), Identity("a", source="jwt", proof="a thumbprint")):
        assert tokens.review(identity) is identity
    assert tokens.review(Identity("a", source="token", proof=EntryProof(b"gone"))) is None


def test_a_file_that_is_bad_changes_nothing(written):
    tokens = TokenFile(written(lines({"token": "t", "subject": "a"})))
    written(lines({"token": "u"}, {"tokens": "v"}))
    with pytest.raises(SettingError, match="line 2"):
        tokens.read()
    assert tokens.identify("t", NOW).subject == "a"
    assert tokens.identify("u", NOW) is None

"""`sigbridge token`: what it makes is what a server takes, and what it says of a token is what a server thinks of it."""

import hashlib
import io
import json
import os
import sys
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sigbridge_command import command

SECRET = "a-secret-canary-of-more-than-32-bytes"
OPAQUE = "an-opaque-canary"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No variable of the machine's own, and nothing on stdin."""
    for name in os.environ:
        if name.startswith(("GRPC_", "WS_", "HTTP_", "SIGNALING_", "SIGBRIDGE_TOKEN")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))


@pytest.fixture
def stdin(monkeypatch):
    """Puts a text on stdin."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


@pytest.fixture
def run(capsys):
    """Runs the command in this process; its exit code, stdout and stderr."""

    def run(*arguments):
        try:
            code = command.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def fails(run):
    """Runs a command that cannot do what it is asked for; its one line."""

    def fails(*arguments):
        code, out, errors = run(*arguments)
        assert (code, out, errors.count("\n")) == (2, "", 1)
        assert errors.startswith("sigbridge: ")
        assert "canary" not in errors
        return errors.removeprefix("sigbridge: ").rstrip()

    return fails


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def secrets_file(tmp_path):
    path = tmp_path / "secrets"
    path.write_text(f"\n{SECRET}\r\nanother-secret-canary-of-more-than-32-bytes\n")
    return path


# What is made.


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512", "EdDSA", "EdDSA of Ed448", "HS256"])
def test_the_algorithm_follows_from_the_key_and_a_server_takes_the_token(
    algorithm, run, tmp_path, rsa_key, monkeypatch
):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    if algorithm == "HS256":
        private.write_text(SECRET)
        monkeypatch.setenv("SIGNALING_JWT_HMAC_SECRET_FILE", str(private))
    else:
        key = {
            "RS256": lambda: rsa_key,
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "EdDSA of Ed448": ed448.Ed448PrivateKey.generate,
        }[algorithm]()
        private.write_bytes(pem(key))
        public.write_bytes(public_pem(key))
        monkeypatch.setenv("SIGNALING_JWT_KEY_FILE", str(public))
    code, token, errors = run("token", "create", "--key-file", private, "--subject", "alice")
    assert (code, errors, token.count("\n")) == (0, "", 1)
    assert jwt.get_unverified_header(token.strip())["alg"] == algorithm.partition(" ")[0]
    monkeypatch.setenv("SIGBRIDGE_TOKEN", token)
    code, out, errors = run("token", "check", "--json")
    assert (code, errors) == (0, "")
    said = json.loads(out)
    assert (said["source"], said["subject"], said["peer_ids"]) == ("jwt", "alice", ["alice", "alice:*"])


def test_every_option_is_a_claim(run, secrets_file):
    before = int(time.time())
    code, token, errors = run(
        *("token", "create", "--key-file", secrets_file, "--subject", "alice", "--peer-id", "a*", "--peer-id", "b"),
        *("--room", "", "--right", "relay", "--right", "announce", "--lifetime", "2h", "--issuer", "https://idp"),
        *("--audience", "one", "--audience", "other", "--kid", "of-today", "--not-before", "2100-01-01T00:00:00+01:00"),
    )
    assert (code, errors) == (0, "")
    claims = jwt.decode(token.strip(), options={"verify_signature": False})
    assert before <= claims.pop("iat") <= time.time()
    assert claims == {
        "sub": "alice",
        "nbf": 4102441200,
        "exp": 4102441200 + 7200,
        "iss": "https://idp",
        "aud": ["one", "other"],
        "peer_ids": ["a*", "b"],
        "rooms": [""],
        "rights": ["announce", "relay"],
    }
    assert jwt.get_unverified_header(token.strip())["kid"] == "of-today"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("30d", 2592000), (None, 3600)]
)
def test_lifetimes(text, seconds, run, secrets_file):
    options = () if text is None else ("--lifetime", text)
    _, token, _ = run("token", "create", "--key-file", secrets_file, "--subject", "alice", *options)
    claims = jwt.decode(token.strip(), options={"verify_signature": False})
    assert claims == {"sub": "alice", "iat": claims["iat"], "exp": claims["iat"] + seconds}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--lifetime", "0"), "--lifetime is '0': expected a time such as 90s, 15m, 1h or 30d, ten years at most"),
        (("--lifetime", "soon"), "--lifetime is 'soon': expected"),
        (("--lifetime", "99999d"), "--lifetime is '99999d': expected"),
        (
            ("--not-before", "2027-01-31T08:00:00"),
            "--not-before is '2027-01-31T08:00:00': expected a time such as 2027",
        ),
        (("--not-before", "soon"), "--not-before is 'soon': expected"),
        (("--subject", ""), "--subject: expected printable text of at most 256 bytes"),
        (("--subject", "a\nb"), "--subject: expected"),
        (("--subject", "é" * 129), "--subject: expected"),
        (("--subject", "\udcff"), "--subject: expected"),
        (("--issuer", "\udcff"), "--issuer: expected printable text"),
        (("--audience", "x" * 257), "--audience: expected printable text"),
        (("--kid", ""), "--kid: expected printable text"),
        (("--room", "\udcff"), "--room: expected text in UTF-8"),
        (("--peer-id", "x" * 257), "--peer-id: a pattern of more than 256 bytes"),
        (("--room", "x") * 65, "--room: more than 64 patterns"),
        (("--right", "none", "--right", "list"), "--right is none and another: expected either"),
        (sum((("--room", f"{number:0>250}") for number in range(60)), ()), "servers refuse more than 8192: say less"),
    ],
)
def test_a_wrong_option_is_one_line_with_a_hint(options, line, fails, secrets_file):
    assert line in fails("token", "create", "--key-file", secrets_file, "--subject", "alice", *options)


def test_a_right_that_there_is_not_is_told_with_those_that_there_are(run, secrets_file):
    code, out, errors = run("token", "create", "--key-file", secrets_file, "--subject", "a", "--right", "all")
    assert (code, out) == (2, "")
    assert "'all' is not one of announce, list, relay, none; see" in errors


def test_settings_of_a_configuration_file_judge_a_token(run, tmp_path):
    config, token = tmp_path / "sigbridge.toml", tmp_path / "token"
    config.write_text('GRPC_AUTH_TOKENS = ["right"]\n')
    for text, expected in (("right", 0), ("wrong", 1)):
        token.write_text(text)
        assert run("token", "check", "--config", str(config), "--token-file", str(token))[0] == expected
    config.write_text("WHATEVER = 1\n")
    code, out, errors = run("token", "check", "--config", str(config), "--token-file", str(token))
    assert (code, out, errors) == (2, "", f"sigbridge: --config is {str(config)!r}: unknown settings: WHATEVER\n")


def test_no_rights_at_all(run, secrets_file):
    _, token, _ = run("token", "create", "--key-file", secrets_file, "--subject", "a", "--right", "none")
    assert jwt.decode(token.strip(), options={"verify_signature": False})["rights"] == []


@pytest.mark.parametrize(
    "what", ["public", "small", "curve", "kind", "encrypted", "broken", "short", "empty", "jwk", "ssh"]
)
def test_a_key_that_signs_nothing_is_one_line_with_a_hint(what, fails, tmp_path, rsa_key):
    def encrypted():
        return rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))

    content, hint = {
        "public": (lambda: public_pem(rsa_key), "holds no private key"),
        "small": (
            lambda: pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
            "has 1024 bits, and servers refuse it: expected 2048 or more",
        ),
        "curve": (
            lambda: pem(ec.generate_private_key(ec.SECP256K1())),
            "is of a kind that cannot sign JWTs: expected RSA",
        ),
        "kind": (lambda: pem(X25519PrivateKey.generate()), "is of a kind that cannot sign JWTs"),
        "encrypted": (encrypted, "is encrypted: expected a private key without a password"),
        "broken": (lambda: b"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", "cannot be read"),
        "short": (lambda: b"canary\n", "begins with a secret of 6 bytes: expected 32 or more"),
        "empty": (lambda: b"\n", "begins with a secret of 0 bytes"),
        "jwk": (lambda: b'{"kty": "oct", "k": "canary-canary-canary-canary-canary"}', "is neither PEM nor a secret"),
        "ssh": (lambda: b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIcanary canary", "is neither PEM nor a secret"),
    }[what]
    path = tmp_path / "key"
    path.write_bytes(content())
    line = fails("token", "create", "--key-file", path, "--subject", "alice")
    assert line.startswith(f"--key-file is {str(path)!r}, which ")
    assert hint in line


def test_a_key_file_that_is_not_there(fails, tmp_path):
    path = tmp_path / "none"
    line = fails("token", "create", "--key-file", path, "--subject", "alice")
    assert line == f"--key-file is {str(path)!r}: cannot be read (No such file or directory)"


# What is written down.


def test_an_entry_lets_its_owner_in(run, stdin, tmp_path, monkeypatch):
    stdin(f"{OPAQUE}\n".encode())
    code, line, errors = run(
        *("token", "entry", "--subject", "alice", "--peer-id", "a*", "--room", "lobby", "--right", "list"),
        *("--lifetime", "1d"),
    )
    assert (code, errors, line.count("\n")) == (0, "", 1)
    assert json.loads(line)["token_sha256"] == hashlib.sha256(OPAQUE.encode()).hexdigest()
    assert "canary" not in line
    path = tmp_path / "tokens.jsonl"
    path.write_text(line)
    monkeypatch.setenv("SIGNALING_TOKENS_FILE", str(path))
    monkeypatch.setenv("SIGBRIDGE_TOKEN", OPAQUE)
    code, out, _ = run("token", "check", "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["source"], said["subject"], said["peer_ids"]) == ("token", "alice", ["a*"])
    assert (said["rooms"], said["rights"]) == (["lobby"], ["list"])
    assert 86_000 < said["expires_at"] - time.time() < 86_401


def test_an_entry_of_nobody_in_particular(run, stdin):
    stdin(OPAQUE.encode())
    assert json.loads(run("token", "entry")[1]) == {"token_sha256": hashlib.sha256(OPAQUE.encode()).hexdigest()}


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"two\nlines-canary"])
def test_there_is_no_entry_without_a_token(content, fails, stdin):
    stdin(content)
    assert "token" in fails("token", "entry")


# What is said of one.


def test_a_token_comes_from_a_file_the_environment_or_stdin_in_this_order(run, stdin, tmp_path, monkeypatch):
    monkeypatch.setenv("GRPC_AUTH_TOKENS", OPAQUE)
    stdin(OPAQUE.encode())
    assert run("token", "check")[0] == 0
    monkeypatch.setenv("SIGBRIDGE_TOKEN", "wrong-canary")
    stdin(OPAQUE.encode())
    assert run("token", "check")[0] == 1
    path = tmp_path / "token"
    path.write_text(f"{OPAQUE}\n")
    assert run("token", "check", "--token-file", path)[0] == 0


def test_a_page_for_people(run, secrets_file, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGNALING_JWT_HMAC_SECRET_FILE", str(secrets_file))
    claims = {"sub": "al\u202eice", "iss": "https://idp", "exp": 4102444800, "rooms": ["", "lobby"], "rights": []}
    monkeypatch.setenv("SIGBRIDGE_TOKEN", jwt.encode(claims, SECRET, algorithm="HS256"))
    code, out, errors = run("token", "check")
    assert (code, errors) == (0, "")
    assert out.splitlines() == [
        "good",
        "  source    a JWT",
        "  issuer    https://idp",
        "  subject   al\\u202eice",
        "  peer ids  al\\u202eice, al\\u202eice:*",
        "  rooms     the default room, lobby",
        "  rights    none",
        "  expires   2100-01-01 00:00:00 UTC, and 30 s of leeway",
    ]


def test_a_shared_token_is_nobody_s_and_may_do_all_but_what_is_reserved(run, monkeypatch, tmp_path):
    monkeypatch.setenv("SIGBRIDGE_TOKEN", OPAQUE)
    settings = tmp_path / "settings.env"
    settings.write_text(f"GRPC_AUTH_TOKENS={OPAQUE}\nSIGNALING_RESERVED_PEER_IDS=kiosk-*,admin\n")
    code, out, _ = run("token", "check", "--env-file", settings)
    assert code == 0
    assert out.splitlines() == [
        "good",
        "  source    GRPC_AUTH_TOKENS",
        "  subject   none",
        "  peer ids  any but kiosk-*, admin",
        "  rooms     any",
        "  rights    announce, list, relay",
        "  expires   never",
    ]
    assert json.loads(run("token", "check", "--env-file", settings, "--json")[1]) == {
        "good": True,
        "source": "shared",
        "issuer": "",
        "subject": "",
        "peer_ids": None,
        "reserved_peer_ids": ["kiosk-*", "admin"],
        "rooms": None,
        "rights": ["announce", "list", "relay"],
        "expires_at": None,
        "leeway_seconds": 0.0,
        "certificate_needed": False,
    }


def test_a_refusal_says_why_and_a_server_would_not(run, secrets_file, monkeypatch):
    monkeypatch.setenv("SIGNALING_JWT_HMAC_SECRET_FILE", str(secrets_file))
    for token, reason in (
        (jwt.encode({"sub": "a", "exp": 1}, SECRET, algorithm="HS256"), "it has expired"),
        (jwt.encode({"sub": "a"}, SECRET, algorithm="HS256"), "it has no exp"),
        ("opaque-canary", "the token is not known"),
    ):
        monkeypatch.setenv("SIGBRIDGE_TOKEN", token)
        assert run("token", "check") == (1, f"refused: {reason}\n", "")
        code, out, _ = run("token", "check", "--json")
        assert (code, json.loads(out)) == (1, {"good": False, "reason": reason})


def test_a_signature_that_is_wrong_is_refused(run, secrets_file, monkeypatch):
    monkeypatch.setenv("SIGNALING_JWT_HMAC_SECRET_FILE", str(secrets_file))
    monkeypatch.setenv("SIGBRIDGE_TOKEN", jwt.encode({"sub": "a", "exp": 9e9}, "x" * 32, algorithm="HS256"))
    code, out, errors = run("token", "check")
    assert (code, errors) == (1, "")
    assert out.startswith("refused: ")


def test_what_cannot_be_told_is_neither_good_nor_refused(fails, monkeypatch, tmp_path):
    assert "no source of tokens" in fails("token", "check")
    monkeypatch.setenv("GRPC_AUTH_TOKENS", OPAQUE)
    assert "there is no token" in fails("token", "check")
    path = tmp_path / "none"
    line = fails("token", "check", "--token-file", path)
    assert (
        line == f"--token-file is {str(path)!r}: expected a file that holds one API token (No such file or directory)"
    )
    assert "--env-file" in fails("token", "check", "--env-file", tmp_path / "none")
    monkeypatch.setenv("SIGBRIDGE_TOKEN", OPAQUE)
    monkeypatch.setenv("SIGNALING_TOKENS_FILE", str(tmp_path / "none"))
    assert "SIGNALING_TOKENS_FILE" in fails("token", "check")
    monkeypatch.setenv("GRPC_MAX_MEMORY_MB", "much")
    assert "GRPC_MAX_MEMORY_MB" in fails("token", "check")

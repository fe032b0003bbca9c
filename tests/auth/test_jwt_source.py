"""JWTs: their form, their signatures, the keys that these are checked by, and every attack on them that has a name."""

import base64
import contextlib
import hashlib
import hmac
import json
import warnings

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from clock import NOW
from jwt_sources import ALGORITHMS, NO_ALGORITHM, NO_FIT, PUBLIC, WRONG, is_good, named, source_of
from jwts import (
    CLAIMS,
    SECRET,
    base64url,
    json_bytes,
    jwks_file,
    jwt_settings,
    key_file,
    reason,
    secret_file,
    signer,
)
from sigbridge.checks import MAX_TOKEN_BYTES
from sigbridge_auth import jwt_source
from sigbridge_auth.jwt_source import JwtSource
from sigbridge_auth.verdicts import BadToken, UnknownKey

# Signatures.


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm(tmp_path, name):
    source = source_of(tmp_path, name)
    token = signer(name).token()
    assert is_good(source, token)
    signed, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[len(raw) // 2] ^= 1
    assert reason(source, f"{signed}.{base64url(raw)}") == WRONG
    other = signer(name).token(CLAIMS | {"sub": "alice2"}).rpartition(".")[0]
    assert reason(source, f"{other}.{signature}") == WRONG


@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
def test_every_kind_of_key_in_a_jwk_set(tmp_path, name):
    source = named(tmp_path, a=name)
    assert is_good(source, signer(name).token(kid="a"))
    assert is_good(source, signer(name).token())


@pytest.mark.parametrize("by", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_a_key_of_rsa_signs_by_each_of_its_algorithms(tmp_path, by):
    assert is_good(source_of(tmp_path, "RS256"), signer("RS256").token(by=by))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_empty_signature(tmp_path, name):
    signed = signer(name).token().rpartition(".")[0]
    assert reason(source_of(tmp_path, name), f"{signed}.") == WRONG


@pytest.mark.parametrize("name", PUBLIC)
def test_signatures_of_zeros_and_of_any_size(tmp_path, name):
    source = source_of(tmp_path, name)
    signed = signer(name).token().rpartition(".")[0]
    for size in (1, 32, 63, 64, 65, 96, 114, 132, 256, 257, 1000):
        for filler in (b"\0", b"\xff", b"\x30"):
            assert reason(source, f"{signed}.{base64url(filler * size)}") == WRONG


@pytest.mark.parametrize(("name", "order", "size"), [
    ("ES256", 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 32),
    ("ES384", 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973, 48),
])  # fmt: skip
def test_psychic_signatures(tmp_path, name, order, size):
    """CVE-2022-21449: r and s that are zero, or as much as the order of the curve, were good for every message."""
    signed = signer(name).token().rpartition(".")[0]
    for r in (0, 1, order, order - 1):
        for s in (0, order, r):
            signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
            assert reason(source_of(tmp_path, name), f"{signed}.{base64url(signature)}") == WRONG


def test_a_signature_of_es_in_der_is_none(tmp_path):
    signed = signer("ES256").token().rpartition(".")[0]
    der = signer("ES256").private.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    assert reason(source_of(tmp_path, "ES256"), f"{signed}.{base64url(der)}") == WRONG


# Algorithms that a token says.


@pytest.mark.parametrize("files", ["HS256", "RS256", "ES256"])
@pytest.mark.parametrize(
    "spelling", ["none", "None", "NONE", "nOnE", "", " none", "none ", "null", "HS1", "RS1", "ES256K"]
)
def test_alg_none_in_every_spelling(tmp_path, files, spelling):
    source = source_of(tmp_path, files)
    for header in ({"alg": spelling}, {"alg": spelling, "kid": "a"}):
        signed = f"{base64url(json_bytes(header))}.{base64url(json_bytes(CLAIMS))}"
        assert reason(source, f"{signed}.") == NO_ALGORITHM
        assert reason(source, f"{signed}.{base64url(b'x')}") == NO_ALGORITHM


@pytest.mark.parametrize("alg", [None, 5, True, ["HS256"], {"HS256": 1}])
def test_an_alg_that_is_no_text(tmp_path, alg):
    source = source_of(tmp_path, "HS256")
    assert reason(source, signer("HS256").raw(json_bytes({"alg": alg}), json_bytes(CLAIMS))) == NO_ALGORITHM
    assert reason(source, signer("HS256").raw(b"{}", json_bytes(CLAIMS))) == NO_ALGORITHM


def test_names_of_algorithms_are_compared_by_letter(tmp_path):
    source = source_of(tmp_path, "HS256")
    for alg in ("hs256", "Hs256", "HS256 ", "HS256\0", "HS\uff12\uff15\uff16"):
        assert reason(source, signer("HS256").token(alg=alg)) == NO_ALGORITHM


def forged(name: str, secret: bytes) -> str:
    """A token by HMAC, with that secret."""
    signed = f"{base64url(json_bytes({'alg': name}))}.{base64url(json_bytes(CLAIMS))}"
    return f"{signed}.{base64url(hmac.digest(secret, signed.encode(), name.replace('HS', 'sha')))}"


@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("by", ["HS256", "HS384", "HS512"])
def test_a_public_key_as_the_secret_of_hmac(tmp_path, name, by):
    """RS/HS confusion (CVE-2016-5431): the key that everybody knows, in every form, is taken for a secret."""
    pem, jwk = signer(name).pem, signer(name).jwk(kid="a")
    body = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    for source in (source_of(tmp_path, name), named(tmp_path, a=name)):
        for secret in (
            pem,
            pem.strip(),
            pem.replace(b"\n", b"\r\n"),
            body,
            json_bytes(jwk),
            jwk.get("n", jwk.get("x")).encode(),
            b"",
        ):
            assert reason(source, forged(by, secret)) == NO_ALGORITHM


def test_an_algorithm_of_keys_where_there_are_secrets(tmp_path):
    for name in PUBLIC:
        assert reason(source_of(tmp_path, "HS256"), signer(name).token()) == NO_ALGORITHM


@pytest.mark.parametrize(
    ("alg", "by"), [("PS256", "RS256"), ("RS256", "PS256"), ("RS256", "RS512"), ("PS384", "PS256")]
)
def test_another_algorithm_than_that_of_the_jwk(tmp_path, alg, by):
    source = JwtSource(jwt_settings(jwks_file(tmp_path, signer("RS256").jwk(kid="a", alg=alg))))
    assert is_good(source, signer("RS256").token(by=alg, kid="a"))
    assert reason(source, signer("RS256").token(by=by, kid="a")) == NO_FIT
    assert reason(source, signer("RS256").token(by=by)) == NO_FIT


@pytest.mark.parametrize(
    ("said", "by"), [("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS384"), ("RS512", "RS256")]
)
def test_another_algorithm_than_the_header_says(tmp_path, said, by):
    source = source_of(tmp_path, "RS256")
    assert reason(source, signer("RS256").token(by=by, alg=said)) == WRONG


@pytest.mark.parametrize("said", ["ES384", "ES512", "EdDSA", "RS256", "PS256"])
def test_an_algorithm_of_another_kind_of_key(tmp_path, said):
    assert reason(source_of(tmp_path, "ES256"), signer("ES256").token(alg=said)) == NO_FIT


# Names of keys.


def test_a_known_name_means_that_key_alone(tmp_path):
    source = named(tmp_path, a="ES256", b="EdDSA")
    assert is_good(source, signer("EdDSA").token(kid="b"))
    assert reason(source, signer("EdDSA").token(kid="a")) == NO_FIT
    both = JwtSource(jwt_settings(jwks_file(tmp_path, signer("RS256").jwk(kid="a"), signer("RS256", 1).jwk(kid="b"))))
    assert reason(both, signer("RS256").token(kid="b")) == WRONG
    assert is_good(both, signer("RS256").token(kid="a"))


def test_two_keys_may_have_one_name(tmp_path):
    """RFC 7517, section 4.5: keys of different kinds that are equivalent for those who use them."""
    source = JwtSource(jwt_settings(jwks_file(tmp_path, signer("ES256").jwk(kid="a"), signer("EdDSA").jwk(kid="a"))))
    assert is_good(source, signer("ES256").token(kid="a"))
    assert is_good(source, signer("EdDSA").token(kid="a"))


def test_an_unknown_name(tmp_path):
    source = named(tmp_path, a="ES256")
    assert reason(source, signer("ES256").token(kid="b"), UnknownKey) == "its kid is unknown"
    # A provider may go over to another algorithm together with its key.
    assert reason(source, signer("EdDSA").token(kid="b"), UnknownKey)
    # No key of such a set can ever make it good.
    assert reason(source, signer("HS256").token(kid="b")) == NO_ALGORITHM
    assert reason(source, signer("ES256").token(kid="b", alg="none")) == NO_ALGORITHM


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null", "/proc/self/environ", "a' UNION SELECT 'x", "a\" OR 1=1 --", "a\0", "", " a", "A", "*", "%61", "a\n",
        "$(id)", "| id", "http://evil.example/key", "__class__", "x" * 5000, "\ud800", "keys.pem",
    ],
)  # fmt: skip
def test_names_that_would_be_paths_or_queries_elsewhere(tmp_path, kid):
    assert reason(named(tmp_path, a="ES256"), signer("ES256").token(kid=kid), UnknownKey)
    for name in ("ES256", "HS256"):
        assert is_good(source_of(tmp_path, name), signer(name).token(kid=kid))
        assert (
            reason(source_of(tmp_path, name), signer(name, 1).token(kid=kid) if name == "HS256" else forged_es(kid))
            == WRONG
        )


def forged_es(kid: str) -> str:
    token = signer("ES256").token(kid=kid)
    return token[:-86] + base64url(b"\1" * 64)


@pytest.mark.parametrize("kid", [5, None, True, ["a"], {"a": 1}, 1.5])
def test_a_name_that_is_no_text(tmp_path, kid):
    for source in (named(tmp_path, a="ES256"), source_of(tmp_path, "ES256")):
        assert reason(source, signer("ES256").token(kid=kid)) == "its kid is not a string"


def test_keys_without_a_name_are_tried_for_any(tmp_path):
    """Those who sign give a name to every token, and files of PEM keys and secrets to none."""
    assert is_good(source_of(tmp_path, "ES256", "EdDSA"), signer("EdDSA").token(kid="any"))
    assert is_good(source_of(tmp_path, "HS256"), signer("HS256").token(kid="any"))
    assert is_good(
        JwtSource(jwt_settings(jwks_file(tmp_path, signer("ES256").jwk()))), signer("ES256").token(kid="any")
    )


def test_a_wrong_signature_is_a_guess_where_no_name_can_come(tmp_path):
    token = signer("RS256", 1).token(kid="any")
    assert reason(source_of(tmp_path, "RS256"), token, BadToken) == WRONG
    assert reason(source_of(tmp_path, "ES256"), token, BadToken) == NO_FIT


def test_a_name_that_no_key_has_beside_keys_without_one(tmp_path):
    files = key_file(tmp_path, signer("EdDSA")) | jwks_file(tmp_path, signer("ES256").jwk(kid="a"))
    source = JwtSource(jwt_settings(files))
    assert is_good(source, signer("EdDSA").token(kid="b"))
    assert is_good(source, signer("EdDSA").token())
    assert is_good(source, signer("ES256").token(kid="a"))
    assert is_good(source, signer("ES256").token())
    assert reason(source, signer("EdDSA").token(kid="a")) == NO_FIT
    assert reason(source, signer("ES256").token(kid="b"), UnknownKey)


class Tries:
    """A source whose checks are counted."""

    def __init__(self, source: JwtSource, algorithm: str) -> None:
        self.count = 0
        self.source = source
        for key in source._keys._all:
            key.checks[algorithm] = self._counting(key.checks[algorithm])

    def _counting(self, check):
        def counted(message: bytes, signature: bytes) -> bool:
            self.count += 1
            return check(message, signature)

        return counted


def test_no_token_is_given_to_more_than_sixteen_keys(tmp_path):
    keys = [signer("RS256").jwk(kid=f"key {number}") for number in range(20)]
    tries = Tries(JwtSource(jwt_settings(jwks_file(tmp_path, *keys))), "RS256")
    assert reason(tries.source, signer("RS256", 1).token()) == WRONG
    assert tries.count == 16
    assert reason(tries.source, signer("RS256", 1).token(kid="key 19")) == WRONG
    assert tries.count == 17
    assert reason(tries.source, signer("RS256", 1).token(kid="key 20"), UnknownKey)
    assert tries.count == 17


def test_keys_that_have_no_name_are_tried_first(tmp_path):
    many = [signer("RS256", 1).jwk(kid=f"key {number}") for number in range(20)]
    source = JwtSource(jwt_settings(jwks_file(tmp_path, *many, signer("RS256").jwk())))
    assert is_good(source, signer("RS256").token())


# What else a header says.


@pytest.mark.parametrize(
    "member", ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "typ", "cty", "zip", "epk", "url", "nonce", "b64"]
)
def test_keys_and_addresses_in_a_header_are_ignored(tmp_path, member):
    """A key that a token brings along (CVE-2018-0114) proves nothing, and nobody fetches anything."""
    own = signer("RS256", 1)
    said = {
        "jwk": own.jwk(),
        "x5c": [base64.b64encode(own.pem).decode()],
        "jku": "https://evil.example/jwks.json",
        "x5u": "file:///etc/passwd",
        "b64": True,
    }.get(member, "x")
    for source in (source_of(tmp_path, "RS256"), named(tmp_path, a="RS256")):
        assert is_good(source, signer("RS256").token(**{member: said}))
        assert reason(source, own.token(**{member: said})) == WRONG


@pytest.mark.parametrize("crit", [["exp"], ["b64"], ["http://example.org/x"], [], "exp", None, 5])
def test_crit_is_refused(tmp_path, crit):
    token = signer("ES256").token(crit=crit, exp=1, b64=True)
    assert reason(source_of(tmp_path, "ES256"), token) == "its header has crit: extensions are not supported"


@pytest.mark.parametrize("b64", [False, 0, None, "false", []])
def test_claims_that_are_not_in_base64(tmp_path, b64):
    """RFC 7797, with `crit` as it asks for, and without."""
    source = source_of(tmp_path, "HS256")
    assert "not in Base64" in reason(source, signer("HS256").token(b64=b64))
    head = base64url(json_bytes({"alg": "HS256", "b64": False, "crit": ["b64"]}))
    signed = f"{head}.{json.dumps(CLAIMS, separators=(',', ':'))}"
    assert reason(source, f"{signed}.{base64url(signer('HS256').signature(signed))}")


# The form of a token.


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a", "a.b", "a.b.c.d", "....", ".....", "Bearer x.y.z", " ", "\0", "é.é.é", "\ud800.a.b"],
)
def test_texts_that_are_no_tokens(tmp_path, token):
    assert reason(source_of(tmp_path, "HS256"), token)


def test_too_few_and_too_many_parts(tmp_path):
    source = source_of(tmp_path, "HS256")
    token = signer("HS256").token()
    head, claims, signature = token.split(".")
    for other in (
        f"{head}.{claims}",
        f"{head}",
        f"{token}.",
        f".{token}",
        f"{token}.{signature}",
        token.replace(".", ""),
        f"{head}..{claims}.{signature}",
    ):
        assert reason(source, other) == "it is not a JWT"
    for other in (f"{head}.{signature}.", f".{claims}.{signature}", f"{head}..{signature}"):
        assert reason(source, other)


def test_an_encrypted_token(tmp_path):
    """The example of RFC 7516, appendix A.1, cut short."""
    token = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKo.48V1_ALb6US04U3b.5eym8TW_c8.XFBoMYUZodetZdvT"
    assert reason(source_of(tmp_path, "HS256"), token) == "it is encrypted (JWE)"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("spoil", [
    lambda part: part + "=", lambda part: part + "==", lambda part: part + "A===", lambda part: part + " ", lambda part: "\n" + part,
    lambda part: part[:5] + "!" + part[5:], lambda part: part[:5] + "\r\n" + part[5:], lambda part: part[:5] + "+" + part[5:],
    lambda part: part[:5] + "/" + part[5:], lambda part: part[:5] + "=" + part[5:], lambda part: part + "%3D", lambda part: part + "\0",
])  # fmt: skip
def test_parts_that_are_no_base64(tmp_path, place, spoil):
    """Signed as they stand, where it is not the signature: so nothing but the form is wrong."""
    parts = signer("HS256").token().split(".")
    parts[place] = spoil(parts[place])
    if place != 2:
        parts[2] = base64url(signer("HS256").signature(f"{parts[0]}.{parts[1]}"))
    assert reason(source_of(tmp_path, "HS256"), ".".join(parts))


def test_a_token_can_be_written_in_one_way(tmp_path):
    """Bits to spare, of which the decoder takes any, would make many good tokens of one."""
    source = source_of(tmp_path, "HS256")
    token = signer("HS256").token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert [
        last
        for last in alphabet
        if last != token[-1]
        and base64.urlsafe_b64decode(f"{token[-43:-1]}{last}=") == base64.urlsafe_b64decode(f"{token[-43:]}=")
    ]
    for last in alphabet:
        if last != token[-1]:
            assert reason(source, token[:-1] + last)


@pytest.mark.parametrize("claims", [
    b"", b"null", b"[]", b'"alice"', b"5", b"{", b"{} {}", b"{}x", b"{'sub':'alice'}", b'{"sub":"alice",}', b"\xff", b"\xef\xbb\xbf{}",
    '{"sub":"alice","exp":1700000060}'.encode("utf-16"), b'{"sub":"al\nice","exp":1700000060}', b'{"sub":"\xed\xa0\x80","exp":1700000060}',
    b'{"sub":"alice","exp":1700000060,"sub":"bob"}', b'{"sub":"alice","exp":1,"exp":1700000060}', b'{"sub":"alice","e\\u0078p":1,"exp":1700000060}',
    b'{"sub":"alice","exp":1700000060,"x":{"a":1,"a":2}}',
])  # fmt: skip
def test_claims_that_are_no_json_or_stand_twice(tmp_path, claims):
    assert reason(source_of(tmp_path, "HS256"), signer("HS256").token(claims)) == "its claims are not a JSON object"


@pytest.mark.parametrize("header", [
    b"", b"null", b"[]", b'"HS256"', b"{", b"\xff", b'{"alg":"HS256"}x', b'{"alg":"none","alg":"HS256"}', b'{"alg":"HS256","kid":NaN}',
    '{"alg":"HS256"}'.encode("utf-16-le"),
])  # fmt: skip
def test_headers_that_are_no_json_or_stand_twice(tmp_path, header):
    token = signer("HS256").raw(header, json_bytes(CLAIMS))
    assert reason(source_of(tmp_path, "HS256"), token) == "its header is not a JSON object, or its signature not Base64"


@pytest.mark.parametrize(
    "bomb",
    [b"[" * 5000, b'{"a":' * 1000, b'{"alg":' + b"[" * 2500 + b"]" * 2500 + b"}", b'{"exp":' + b"9" * 5000 + b"}"],
)
def test_json_bombs(tmp_path, bomb):
    source = source_of(tmp_path, "HS256")
    assert reason(source, signer("HS256").raw(bomb, json_bytes(CLAIMS)))
    assert reason(source, signer("HS256").token(bomb))


def test_claims_are_not_read_before_the_signature_is_good(tmp_path, monkeypatch):
    source = source_of(tmp_path, "HS256")
    read = []
    monkeypatch.setattr(jwt_source, "read_json", lambda data: read.append(data) or json.loads(data))
    assert reason(source, signer("HS256", 1).token()) == WRONG
    assert [b"alg" in data for data in read] == [True]


def test_a_token_of_more_than_eight_kibibytes_is_not_read(tmp_path, monkeypatch):
    source = source_of(tmp_path, "HS256")
    token = signer("HS256").token(CLAIMS | {"x": ""})
    room = (MAX_TOKEN_BYTES - len(token)) * 3 // 4
    longest = signer("HS256").token(CLAIMS | {"x": "x" * room})
    assert MAX_TOKEN_BYTES - 4 < len(longest) <= MAX_TOKEN_BYTES
    assert is_good(source, longest)
    monkeypatch.setattr(jwt_source, "read_json", None)
    monkeypatch.setattr(jwt_source, "_digest", None)
    for huge in (
        signer("HS256").token(CLAIMS | {"x": "x" * (room + 4)}),
        "." * (MAX_TOKEN_BYTES + 1),
        "x" * 10_000_000,
    ):
        assert reason(source, huge) == "it is longer than 8192 bytes"


# What users never see.


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_warnings(tmp_path, name):
    """PyJWT warns of short keys; a secret of 32 bytes is a short one for HS512."""
    with warnings.catch_warnings(record=True, action="always") as said:
        source = source_of(tmp_path, name)
        assert is_good(source, signer(name).token())
        secret_file(tmp_path, b"x" * 32)
        if name.startswith("HS"):
            source.put(source.read(), NOW)
            assert is_good(source, forged(name, b"x" * 32))
    assert said == []


def test_nothing_shows_a_token_or_a_secret(tmp_path):
    source = source_of(tmp_path, "HS256")
    token = signer("HS256").token()
    identity = source.verify(token, NOW)
    shown = repr([identity, source, vars(source), source._keys, vars(source._keys)])
    assert token not in shown
    assert token.rpartition(".")[2] not in shown
    assert SECRET.decode() not in shown
    assert hashlib.sha256(SECRET).hexdigest() not in shown


@given(
    st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: data.decode("utf-8", "surrogateescape")))
)
def test_any_text_is_refused_and_nothing_else_happens(token):
    with pytest.raises(BadToken):
        ANY.verify(token, NOW)
    assert ANY.cached(token, NOW) is None


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["HS256", "none", NOW.unix, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "peer_id", "peer_ids", "room", "rooms", "rights"])


@given(st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "jwk"]), VALUES), st.dictionaries(NAMES, VALUES))
def test_whatever_is_signed_makes_an_identity_or_is_refused(header, claims):
    token = signer("HS256").token(CLAIMS | claims, **header)
    try:
        identity = ANY.verify(token, NOW)
    except BadToken:
        return
    assert 0 < len(identity.subject.encode()) <= 256
    assert identity.expires_at is not None
    assert identity.expires_at > NOW.unix - 30
    assert ANY.cached(token, NOW) is identity
    assert identity.peer_ids is not None
    assert "x" in identity.peer_ids or "x" not in identity.peer_ids


@given(st.binary(max_size=100), st.binary(max_size=100), st.booleans())
def test_whatever_bytes_are_signed(header, claims, usual):
    with contextlib.suppress(BadToken):
        ANY.verify(signer("HS256").raw(b'{"alg":"HS256"}' if usual else header, claims), NOW)


@pytest.fixture(scope="module", autouse=True)
def any_source(tmp_path_factory):
    """A source for tests that are played many times."""
    global ANY  # noqa: PLW0603 - Hypothesis allows no fixture that is made for each example
    ANY = source_of(tmp_path_factory.mktemp("any"), "HS256")


ANY: JwtSource

"""Files of keys: what is read of them, what is refused and how that is said, and which algorithms fit a key."""

import contextlib
import hashlib
import json
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from jwts import SECRET, base64url, jwks_file, jwt_settings, key_file, public_rsa, secret_file, signer
from sigbridge import SettingError
from sigbridge_auth import keys
from sigbridge_auth.keys import MAX_TRIED, read_keys

RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
FIT = {
    "RS256": RSA_ALGORITHMS,
    "ES256": {"ES256"},
    "ES384": {"ES384"},
    "ES512": {"ES512"},
    "EdDSA": {"EdDSA"},
    "Ed448": {"EdDSA"},
}
ALL = {*RSA_ALGORITHMS, "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512", "none", "ES256K"}


def algorithms(found: keys.Keys) -> set[str]:
    """The algorithms for which there is a key."""
    return {name for name in ALL if found.fitting(name, None)}


def refusal(files: dict[str, str]) -> str:
    """Error text for a file that is no good; asserts that it is one line, which names the variable and the file."""
    with pytest.raises(SettingError) as caught:
        read_keys(jwt_settings(files))
    text = str(caught.value)
    ((field, path),) = files.items()
    assert text.startswith(f"SIGNALING_{field.upper()} is {path!r}: expected ")
    assert "\n" not in text
    printed = "".join(traceback.format_exception(caught.value))
    for line in Path(path).read_bytes().split() if Path(path).is_file() else []:
        assert len(line) < 16 or line.decode("latin-1") not in printed
    return text


def _why_alone(value: bytes | str) -> str:
    """The name of a test whose keys are others each time."""
    return value if isinstance(value, str) else "file"


def public_pem(key) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


# What fits.


@pytest.mark.parametrize("name", FIT)
def test_the_algorithms_follow_from_a_key_in_pem(tmp_path, name):
    assert algorithms(read_keys(jwt_settings(key_file(tmp_path, signer(name))))) == FIT[name]


@pytest.mark.parametrize("name", FIT)
def test_the_algorithms_follow_from_a_jwk(tmp_path, name):
    assert algorithms(read_keys(jwt_settings(jwks_file(tmp_path, signer(name).jwk(kid="a"))))) == FIT[name]


def test_every_hmac_fits_a_secret(tmp_path):
    assert algorithms(read_keys(jwt_settings(secret_file(tmp_path)))) == {"HS256", "HS384", "HS512"}


def test_the_alg_of_a_jwk_is_the_only_one(tmp_path):
    files = jwks_file(tmp_path, signer("RS256").jwk(alg="PS384"))
    assert algorithms(read_keys(jwt_settings(files))) == {"PS384"}


def test_a_pem_file_holds_several_keys_and_remarks(tmp_path):
    old_form = signer("RS256").private.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    parts = (b"# of the past\n", old_form, b"\r\n# f\xfcr heute\r\n", signer("ES256").pem, signer("EdDSA"))
    found = read_keys(jwt_settings(key_file(tmp_path, *parts)))
    assert algorithms(found) == {*RSA_ALGORITHMS, "ES256", "EdDSA"}
    assert len(found.proofs) == 3


def test_keys_of_both_files_count(tmp_path):
    files = key_file(tmp_path, signer("ES256")) | jwks_file(tmp_path, signer("EdDSA").jwk(kid="a"))
    assert algorithms(read_keys(jwt_settings(files))) == {"ES256", "EdDSA"}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"use": "enc"}, "encrypts"),
        ({"use": 1}, "nothing that is known"),
        ({"key_ops": ["encrypt", "wrapKey"]}, "encrypts"),
        ({"key_ops": []}, "nothing"),
        ({"key_ops": "verify"}, "no list"),
        ({"alg": "RSA-OAEP"}, "encrypts"),
        ({"alg": "ES384"}, "does not fit the curve"),
        ({"alg": "none"}, "never"),
        ({"alg": ["ES256"]}, "no text"),
        ({"kty": "AKP"}, "a kind that is not known"),
        ({"kty": None}, "no kind"),
        ({"kty": ["EC"]}, "no text"),
        ({"crv": "secp256k1"}, "a curve that is not known"),
        ({"crv": "P-256K"}, "a curve that is not known"),
        ({"crv": ["P-256"]}, "no text"),
    ],
)
def test_jwks_for_something_else_or_of_unknown_kinds_are_left_out(tmp_path, other, why):
    left_out = signer("ES256").jwk(**other)
    found = read_keys(jwt_settings(jwks_file(tmp_path, left_out, signer("EdDSA").jwk())))
    assert algorithms(found) == {"EdDSA"}, why
    assert "it holds no key by which a JWT may be signed" in refusal(jwks_file(tmp_path, left_out))


@pytest.mark.parametrize(
    "other", [{"use": "sig"}, {"key_ops": ["verify"]}, {"alg": "ES256"}, {"x5c": [1], "x": 1, "e": 2}]
)
def test_jwks_that_say_what_they_are_for_are_taken(tmp_path, other):
    jwk = other | signer("ES256").jwk()
    assert algorithms(read_keys(jwt_settings(jwks_file(tmp_path, jwk)))) == {"ES256"}


# Thumbprints.


def test_the_proof_of_a_key_is_its_thumbprint(tmp_path):
    """The example of RFC 7638, section 3.1."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W"
        "-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08q"
        "NLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    found = read_keys(jwt_settings(jwks_file(tmp_path, jwk)))
    (proof,) = found.proofs
    assert base64url(bytes.fromhex(proof)) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("name", FIT)
def test_a_key_is_the_same_in_each_file_and_under_each_name(tmp_path, name):
    proofs = {
        proof
        for files in (
            key_file(tmp_path, signer(name)),
            jwks_file(tmp_path, signer(name).jwk()),
            jwks_file(tmp_path, signer(name).jwk(kid="a", use="sig")),
        )
        for proof in read_keys(jwt_settings(files)).proofs
    }
    assert len(proofs) == 1


def test_the_proof_of_a_secret_stays_and_tells_nothing(tmp_path):
    first, second = (read_keys(jwt_settings(secret_file(tmp_path))).proofs for _ in range(2))
    assert first == second
    (proof,) = first
    assert hashlib.sha256(SECRET).hexdigest() != proof


def test_nothing_shows_a_secret(tmp_path):
    (key,) = read_keys(jwt_settings(secret_file(tmp_path))).fitting("HS256", None)
    shown = repr([key, key.proof, key.checks])
    assert SECRET.decode() not in shown


# Secrets.


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_the_line_end_is_no_part_of_a_secret(tmp_path, end):
    found = read_keys(jwt_settings(secret_file(tmp_path, SECRET + end)))
    (key,) = found.fitting("HS256", None)
    assert key.checks["HS256"](b"signed", signer("HS256").signature("signed"))


@pytest.mark.parametrize(
    "data", [b" " + SECRET, SECRET + b" ", SECRET + b"\t\n", SECRET + b"\r\r\n", b"\xff" + SECRET, b"\0" + SECRET]
)
def test_all_else_is_part_of_a_secret(tmp_path, data):
    (key,) = read_keys(jwt_settings(secret_file(tmp_path, data))).fitting("HS256", None)
    assert not key.checks["HS256"](b"signed", signer("HS256").signature("signed"))


def test_each_line_is_a_secret(tmp_path):
    found = read_keys(jwt_settings(secret_file(tmp_path, b"x" * 32 + b"\r\n\r\n" + b"y" * 33 + b"\n")))
    assert len(found.fitting("HS512", None)) == 2


@pytest.mark.parametrize("short", [b"x" * 31, b"x" * 31 + b"\n", b"x" * 31 + b"\r\n", SECRET + b"\n" + b"y" * 31, b" "])
def test_a_short_secret_is_refused(tmp_path, short):
    assert "is shorter" in refusal(secret_file(tmp_path, short))


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\n"])
def test_a_file_without_secrets_is_refused(tmp_path, data):
    assert "it holds no key" in refusal(secret_file(tmp_path, data))


@pytest.mark.parametrize(
    "data",
    [
        signer("ES256").pem,
        signer("RS256").pem,
        signer("RS256").private_pem,
        json.dumps({"keys": [signer("ES256").jwk()]}).encode(),
        json.dumps({"keys": [signer("ES256").jwk()]}, indent=2).encode(),
        b"\n " + json.dumps(signer("ES256").jwk()).encode(),
        signer("EdDSA").private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    ],
    ids=["ec", "rsa", "private", "jwks", "indented", "jwk", "ssh"],
)
def test_what_everybody_knows_is_no_secret(tmp_path, data):
    assert "no secret" in refusal(secret_file(tmp_path, data))


# Files that are no good.


@pytest.mark.parametrize("field", ["jwt_key_file", "jwt_jwks_file", "jwt_hmac_secret_file"])
def test_a_file_that_is_not_there_is_refused(tmp_path, field):
    assert "No such file or directory" in refusal({field: str(tmp_path / "nowhere\n")})
    assert "Is a directory" in refusal({field: str(tmp_path)})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it holds no key"),
        (b"not a key\n", "it holds no key"),
        (signer("ES256").private_pem, "it holds a private key"),
        (signer("ES256").pem + signer("RS256").private_pem, "it holds a private key"),
        (signer("ES256").private_pem[:60], "it holds a private key"),
        (signer("RS256").private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()), "private"),
        (signer("EdDSA").private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), "private"),
        (signer("ES256").private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")), "private"),
        (signer("ES256").pem[:-5], "a block has no end"),
        (signer("EdDSA").pem + signer("ES256").pem[:80], "a block has no end"),
        (signer("EdDSA").pem + signer("ES256").pem.replace(b"MFkw", b"AFkw"), "key 2 cannot be read"),
        (b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "key 1 cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "block 1 is not a public key"),
        (public_pem(public_rsa(2047)), "key 1 is RSA of 2047 bits, and 2048 are the least"),
        (signer("EdDSA").pem + public_pem(public_rsa(1024)), "key 2 is RSA of 1024 bits"),
        (signer("ES256K").pem, "key 1 is of a kind that cannot sign JWTs"),
        (public_pem(x25519.X25519PrivateKey.generate().public_key()), "key 1 is of a kind that cannot sign JWTs"),
    ],
    ids=_why_alone,
)  # fmt: skip
def test_a_pem_file_is_refused_as_a_whole(tmp_path, data, why):
    assert why in refusal(key_file(tmp_path, data))


def rsa_jwk(**members) -> dict[str, str]:
    return RSAAlgorithm.to_jwk(public_rsa(1024), as_dict=True) | members


EC = signer("ES256").jwk()
ED = signer("EdDSA").jwk()


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        ({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}, "key 2 is a secret (oct)"),
        ({"kty": "oct", "use": "enc"}, "key 2 is a secret (oct)"),
        (EC | {"d": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}, "key 2 is private"),
        (ED | {"d": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}, "key 2 is private"),
        (EC | {"d": ""}, "key 2 is private"),
        (EC | {"d": "x", "use": "enc"}, "key 2 is private"),
        ({"kty": "AKP", "priv": "x"}, "key 2 is private"),
        (signer("RS256").jwk(p="x"), "key 2 is private"),
        (rsa_jwk(), "key 2 is RSA of 1024 bits, and 2048 are the least"),
        (rsa_jwk(use="sig", kid="a"), "key 2 is RSA of 1024 bits, and 2048 are the least"),
        (signer("RS256").jwk(n=None), "key 2 cannot be read"),
        (signer("RS256").jwk(n=5), "key 2 cannot be read"),
        (signer("RS256").jwk(n="é"), "key 2 cannot be read"),
        (signer("RS256").jwk(e="AQ"), "key 2 cannot be read"),
        (signer("RS256").jwk(e="AA"), "key 2 cannot be read"),
        (EC | {"x": EC["y"]}, "key 2 cannot be read"),
        (EC | {"x": "AAAA"}, "key 2 cannot be read"),
        (EC | {"x": base64url(bytes(32)), "y": base64url(bytes(32))}, "key 2 cannot be read"),
        (EC | {"y": [1]}, "key 2 cannot be read"),
        (EC | {"crv": "P-384"}, "key 2 cannot be read"),
        (ED | {"x": "AAAA"}, "key 2 cannot be read"),
        (ED | {"x": None}, "key 2 cannot be read"),
        (EC | {"kid": 5}, "the kid of key 2 is not a string"),
        (EC | {"kid": ["a"]}, "the kid of key 2 is not a string"),
        ([], "key 2 is not an object"),
        (None, "key 2 is not an object"),
    ],
)
def test_a_jwk_set_is_refused_as_a_whole(tmp_path, jwk, why):
    assert why in refusal(jwks_file(tmp_path, ED, jwk))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"NaN", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"keys":[],"keys":[]}', "it is not JSON"),
        (signer("ES256").pem, "it is not JSON"),
        (b"[]", "it is not an object with a list named keys"),
        (b"{}", "it is not an object with a list named keys"),
        (b'{"keys":{}}', "it is not an object with a list named keys"),
        (json.dumps(EC).encode(), "it is not an object with a list named keys"),
        (b'{"keys":[]}', "it holds no key"),
    ],
    ids=_why_alone,
)
def test_what_is_no_jwk_set_is_refused(tmp_path, data, why):
    file = tmp_path / "jwks.json"
    file.write_bytes(data)
    assert why in refusal({"jwt_jwks_file": str(file)})


def test_a_key_that_would_never_be_tried_is_refused(tmp_path):
    secrets = b"".join(b"%032d\n" % number for number in range(MAX_TRIED + 1))
    assert "more than 16 keys without a kid" in refusal(secret_file(tmp_path, secrets))
    assert "more than 16 keys without a kid" in refusal(key_file(tmp_path, *[signer("EdDSA")] * (MAX_TRIED + 1)))
    files = key_file(tmp_path, *[signer("EdDSA")] * MAX_TRIED)
    assert read_keys(jwt_settings(files | jwks_file(tmp_path, EC | {"kid": "a"})))
    with pytest.raises(SettingError, match=r"SIGNALING_JWT_JWKS_FILE .* more than 16 keys without a kid"):
        read_keys(jwt_settings(files | jwks_file(tmp_path, EC)))


# Whatever is in a file.

MEMBERS = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "use", "key_ops", "alg", "kid", "k"])
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=50)
    | st.sampled_from(
        ["RSA", "EC", "OKP", "P-256", "P-521", "Ed25519", "Ed448", "sig", "RS256", "AQAB", "A" * 43, "A" * 5000]
    )
    | st.lists(st.text(max_size=5) | st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)
)


@given(st.binary(max_size=300), st.sampled_from([b"", signer("EdDSA").pem, b"-----BEGIN PUBLIC KEY-----\n"]))
def test_any_bytes_make_keys_or_are_refused(data, before):
    for read in (keys._pem_keys, keys._jwks_keys, keys._secrets):
        with contextlib.suppress(keys.BadKeys):
            assert all(key.checks for key in read(before + data))


@given(st.dictionaries(MEMBERS, VALUES), st.sampled_from([{}, EC, ED, signer("RS256").jwk(), signer("Ed448").jwk()]))
def test_any_jwk_makes_a_key_or_is_refused(members, usual):
    with contextlib.suppress(keys.BadKeys):
        assert all(key.checks for key in keys._jwks_keys(json.dumps({"keys": [usual | members]}).encode()))

"""JWTs that are known already, and files of keys that are read again."""

import pytest

from clock import NOW
from jwt_sources import WRONG, is_good, later, named, source_of
from jwts import (
    CLAIMS,
    SECRET,
    jwks_file,
    jwt_settings,
    key_file,
    reason,
    secret_file,
    signer,
)
from sigbridge.auth import Identity
from sigbridge_auth import jwt_source
from sigbridge_auth.jwt_source import JwtSource
from sigbridge_auth.verdicts import BadToken, UnknownKey

# The cache.


def test_a_good_token_is_known_afterwards(tmp_path):
    source = source_of(tmp_path, "ES256")
    token = signer("ES256").token()
    assert source.cached(token, NOW) is None
    identity = source.verify(token, NOW)
    assert source.cached(token, NOW) is identity
    assert source.cached(signer("ES256").token(), NOW) is None
    for other in (token + "=", token[:-1], token.upper(), "", "\ud800", "é", "x" * 100_000):
        assert source.cached(other, NOW) is None


def test_a_known_token_is_known_until_its_end_and_the_leeway(tmp_path):
    source = source_of(tmp_path, "HS256", jwt_leeway_seconds=10)
    token = signer("HS256").token()
    identity = source.verify(token, NOW)
    assert source.cached(token, later(69.9)) is identity
    assert source.cached(token, later(70)) is None
    assert not source._cache
    with pytest.raises(BadToken, match="it has expired"):
        source.verify(token, later(70))


def test_what_was_used_longest_ago_goes_first(tmp_path, monkeypatch):
    assert jwt_source.MAX_CACHED == 4096
    monkeypatch.setattr(jwt_source, "MAX_CACHED", 3)
    source = source_of(tmp_path, "HS256")
    tokens = [signer("HS256").token(CLAIMS | {"jti": number}) for number in range(5)]
    for token in tokens[:3]:
        source.verify(token, NOW)
    source.cached(tokens[0], NOW)
    source.verify(tokens[1], NOW)
    source.verify(tokens[3], NOW)
    assert [source.cached(token, NOW) is not None for token in tokens] == [True, True, False, True, False]
    # Of their texts nothing is kept.
    assert {len(digest) for digest in source._cache} == {32}


# Reading files again.


def test_the_files_that_it_is_made_of(tmp_path):
    files = key_file(tmp_path, signer("ES256")) | jwks_file(tmp_path, signer("EdDSA").jwk(kid="a"))
    assert JwtSource(jwt_settings(files)).paths == tuple(files.values())
    files = secret_file(tmp_path)
    assert JwtSource(jwt_settings(files)).paths == tuple(files.values())


def test_what_was_read_counts_once_it_is_put(tmp_path):
    source = named(tmp_path, a="ES256")
    new = signer("EdDSA").token(kid="b")
    identity = source.verify(signer("ES256").token(kid="a"), NOW)
    jwks_file(tmp_path, signer("ES256").jwk(kid="a"), signer("EdDSA").jwk(kid="b"))
    content = source.read()
    assert reason(source, new, UnknownKey)
    assert source.cached(signer("ES256").token(kid="a"), NOW) is None
    assert source.review(identity) is identity
    source.put(content, NOW)
    assert is_good(source, new)
    assert source.review(identity) is identity


def test_the_cache_is_emptied_by_what_is_put(tmp_path):
    source = source_of(tmp_path, "HS256")
    token = signer("HS256").token()
    source.verify(token, NOW)
    secret_file(tmp_path, b"another secret of thirty-two bytes")
    source.put(source.read(), NOW)
    assert source.cached(token, NOW) is None
    assert reason(source, token) == WRONG


@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
def test_an_identity_ends_with_its_key_and_no_other_does(tmp_path, name):
    gone, staying = signer(name).jwk(kid="a"), signer("ES384").jwk(kid="b")
    source = JwtSource(jwt_settings(jwks_file(tmp_path, gone, staying)))
    lost = source.verify(signer(name).token(kid="a"), NOW)
    kept = source.verify(signer("ES384").token(kid="b"), NOW)
    others = [Identity("alice", source=kind, proof="x") for kind in ("token", "cert", "")]
    jwks_file(tmp_path, staying)
    source.put(source.read(), NOW)
    assert source.review(lost) is None
    assert source.review(kept) is kept
    assert [source.review(other) for other in others] == others
    jwks_file(tmp_path, staying, gone)
    source.put(source.read(), NOW)
    assert source.review(lost) is lost


def test_a_key_that_comes_back_under_another_name_or_without_one_is_the_same(tmp_path):
    source = named(tmp_path, a="ES256")
    identity = source.verify(signer("ES256").token(kid="a"), NOW)
    for jwk in (signer("ES256").jwk(kid="b"), signer("ES256").jwk(alg="ES256", use="sig")):
        jwks_file(tmp_path, signer("EdDSA").jwk(kid="a"), jwk)
        source.put(source.read(), NOW)
        assert source.review(identity) is identity


def test_an_identity_ends_with_its_secret(tmp_path):
    other = b"another secret of thirty-two bytes\n"
    source = JwtSource(jwt_settings(secret_file(tmp_path, SECRET + b"\n" + other)))
    identity = source.verify(signer("HS256").token(), NOW)
    secret_file(tmp_path, other + SECRET + b"\r\n")
    source.put(source.read(), NOW)
    assert source.review(identity) is identity
    secret_file(tmp_path, other)
    source.put(source.read(), NOW)
    assert source.review(identity) is None

"""Client certificates of any form: the carrier and grpc.aio make the same of them."""

import contextlib
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certificates import Authority
from sigbridge.auth import Certificate
from sigbridge_grpc.credentials import certificate_of
from sigbridge_net import tls

OID = x509.NameOID


def named(*parts):
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def common(*names):
    return named(*((OID.COMMON_NAME, name) for name in names))


URI, DNS, MAIL = x509.UniformResourceIdentifier, x509.DNSName, x509.RFC822Name
SPIFFE = "spiffe://example.org/ns/default/sa/web"

CASES = {
    "a common name": (common("alice"), [URI(SPIFFE)], "alice"),
    "the first of several": (common("alice", "bob"), [], "alice"),
    "letters of any script": (common("dévice-Ω-😀"), [], "dévice-Ω-😀"),
    "spaces and commas": (common(" a, b=c + d "), [], " a, b=c + d "),
    "a line break": (common("alice\nbob"), [], "alice\nbob"),
    "a NUL": (common("alice\0bob"), [], "alice\0bob"),
    "as long as may be": (common("x" * 64), [], "x" * 64),
    "beside others": (
        named((OID.ORGANIZATION_NAME, "org"), (OID.COMMON_NAME, "alice"), (OID.ORGANIZATIONAL_UNIT_NAME, "unit")),
        [],
        "alice",
    ),
    "in an old encoding": (
        x509.Name([x509.NameAttribute(OID.COMMON_NAME, "alicé", x509.name._ASN1Type.BMPString)]),
        [],
        "alicé",
    ),
    "two in one part": (
        x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [x509.NameAttribute(OID.COMMON_NAME, "alice"), x509.NameAttribute(OID.USER_ID, "7")]
                )
            ]
        ),
        [],
        "alice",
    ),
    "a URI": (named((OID.ORGANIZATION_NAME, "org")), [DNS("a.example"), URI(SPIFFE), URI("urn:x")], SPIFFE),
    "a DNS name": (named(), [MAIL("a@example.org"), DNS("a.example"), DNS("b.example")], "a.example"),
    "a wildcard": (named(), [DNS("*.example")], "*.example"),
    "none of these": (named((OID.ORGANIZATION_NAME, "org")), [MAIL("a@example.org")], ""),
    "nothing at all": (named(), [], ""),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def shown(authority, files):
    """A client's certificate, as the library shows it to a server."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue("server"))
    server.load_verify_locations(authority.file)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=authority.file)
    client.load_cert_chain(*files)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there, server_hostname="127.0.0.1"), server.wrap_bio(there, back, server_side=True)]
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[1].getpeercert()


@pytest.mark.parametrize("case", CASES)
def test_both_engines_make_the_same_of_it(authority, case):
    subject, names, expected = CASES[case]
    files = authority.issue_named(case.replace(" ", "-"), subject, names)
    pem = Path(files[0]).read_bytes()
    expires_at = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    certificate = Certificate(expected, expires_at)
    assert tls.certificate_of(shown(authority, files)) == certificate
    assert certificate_of({"x509_pem_cert": [pem]}) == certificate


def test_without_a_certificate_there_is_none():
    assert tls.certificate_of(None) is None
    assert tls.certificate_of({}) is None
    assert certificate_of({}) is None
    assert certificate_of({"transport_security_type": [b"ssl"], "x509_pem_cert": [b""]}) is None


def test_an_empty_common_name_is_none():
    end = "Jan  1 00:00:00 2030 GMT"
    shown = {"subject": ((("commonName", ""),),), "subjectAltName": (("DNS", "a.example"),), "notAfter": end}
    assert tls.certificate_of(shown) == Certificate(
        "a.example", datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC).timestamp()
    )


@pytest.mark.parametrize("pem", [b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_cannot_be_read_names_nobody(pem):
    assert certificate_of({"x509_pem_cert": [pem]}) == Certificate("")


def test_a_name_that_cannot_be_read_is_none(authority):
    """Names that are no text, as a certificate may hold that somebody has made by hand."""
    files = authority.issue_named("broken", named((OID.ORGANIZATION_NAME, "org")), [DNS("broken.example")])
    certificate = x509.load_pem_x509_certificate(Path(files[0]).read_bytes())
    broken = certificate.public_bytes(Encoding.DER).replace(b"broken.example", b"\xff" * 14)
    pem = ssl.DER_cert_to_PEM_cert(broken).encode()
    assert certificate_of({"x509_pem_cert": [pem]}).subject == ""

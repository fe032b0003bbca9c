"""The files of a client that the command line names: its token, its certificate, and whom it trusts.

Rule: whatever is wrong with one is found here, before anything is connected, and alike for both protocols: the error
names the option, the file and what would be right, and holds nothing of what is in it.
"""

import argparse
import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sigbridge.client import ConnectionClosed
from sigbridge_command.errors import UsageError
from sigbridge_net.access import TOKEN_VARIABLE, Access, read_token
from sigbridge_net.errors import AccessError


def read_access(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of `connect` about tokens and certificates.

    :raises UsageError: if a file of certificates or a key is invalid.
    :raises AccessError: if a file holds no token.
    """
    _check_certificate(options.cert, options.key)
    return {
        "token": _token(options.token_file),
        "root_certificates": _authorities(options.ca),
        "certificate_file": options.cert,
        "key_file": options.key,
    }


def hint_of(error: Exception, options: argparse.Namespace) -> str:
    """Returns advice for a user beyond an error's own text; empty if there is none."""
    if (
        not isinstance(error, ConnectionClosed)
        or error.reason != "unauthenticated"
        or not hasattr(options, "token_file")
    ):
        return ""
    return f": show a token that the server knows, by --token-file or {TOKEN_VARIABLE}"


def _token(path: str | None) -> str | Callable[[], str] | None:
    """Returns the token of the environment, or a function that reads that of a file each time."""
    if path is not None:
        token_of(path)
        # It is read again whenever a token is asked for, since another may have been put into it.
        return partial(token_of, path)
    token = read_token(None)
    _check_token(token, TOKEN_VARIABLE)
    return token


def token_of(path: str) -> str:
    """Returns the token of a file.

    :raises AccessError: if it holds none.
    """
    where = f"--token-file is {_path_for_errors(path)}"
    try:
        token = _text(path).strip()
    except (OSError, ValueError) as error:
        raise AccessError(f"{where}: expected a file that holds one API token ({_reason(error)})") from None
    if not token:
        raise AccessError(f"{where}: expected a file that holds one API token (it is empty)")
    _check_token(token, where)
    return token


def _path_for_errors(path: str) -> str:
    """Returns the path as errors show it: what is none may be the token itself, by mistake."""
    return repr(path) if "/" in path or os.path.lexists(path) else "(hidden)"


def _check_token(token: str | None, where: str) -> None:
    """Checks that a token can be sent in a header; `where` begins the error's text.

    :raises AccessError: if it cannot.
    """
    try:
        Access(token=token)
    except AccessError as error:
        raise AccessError(f"{where}: {error}") from None


def _text(path: str) -> str:
    """Returns the text of a file.

    :raises ValueError: if it is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None


def _authorities(path: str | None) -> bytes | None:
    """Returns the authorities of a PEM file; None if no file is given.

    :raises UsageError: if it holds no certificates.
    """
    if path is None:
        return None
    expected = f"--ca is {path!r}: expected certificates in a PEM file"
    try:
        content = Path(path).read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii", errors="ignore"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{expected} ({_reason(error)})") from None
    return content


def _check_certificate(certificate: str, key: str) -> None:
    """Checks that a certificate and its key can be read and belong together.

    :raises UsageError: if not.
    """
    if key and not certificate:
        raise UsageError(f"--key is {key!r} and --cert is not given: expected the certificate of this key too")
    if not certificate:
        return
    try:
        # Without a password it would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key or None, password="")
    except (OSError, ValueError) as error:
        files = f"--cert is {certificate!r}" + (f" and --key is {key!r}" if key else "")
        raise UsageError(f"{files}: expected a certificate and its key in PEM files ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """Returns why a file cannot be used, in the system's words if there are any."""
    return getattr(error, "strerror", None) or str(error)

"""The `sigbridge` command: what may be said to it.

Rule 1: a user's mistake is one line on stderr, never a traceback: exit code 2 where it is one of words, else 1; a bug
is a traceback, so that only what descends from SigbridgeError, and files that cannot be read, are taken for mistakes.
Rule 2: what each command does stands in a file of its own; here is only what its words are.
"""

import argparse
import contextlib
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, NoReturn, TypeAlias

from sigbridge.auth import ALL_RIGHTS
from sigbridge.errors import SigbridgeError
from sigbridge.settings.connections import CLIENT_KEEPALIVE_SECONDS
from sigbridge_command.access_files import hint_of
from sigbridge_command.errors import UsageError
from sigbridge_command.sources import Files, Given
from sigbridge_command.standard_streams import complain, discard
from sigbridge_server.versions import version

PROTOCOLS = ("grpc", "websocket")
PAIRINGS = tuple(f"{caller}-{callee}" for caller in PROTOCOLS for callee in PROTOCOLS)
PAGE_PAIRINGS = tuple(f"browser-{callee}" for callee in PROTOCOLS)
DIALECTS = ("plain", "dotted")
SHELLS = ("bash", "zsh", "tcsh")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = make_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # Options by their names only: somebody may have given a token to one that there is not.
        names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        parser.error(f"unrecognized arguments: {' '.join(names) or len(unknown)}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names are what clients say; where the locale has no such letters, they are shown escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = int(options.run(options))
        # Where that fails, it is the command that has failed.
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read us has read enough.
        discard(sys.stdout)
        return 0
    except (SigbridgeError, OSError) as error:
        complain(f"sigbridge: {error}{hint_of(error, options)}")
        return 1
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, which names what was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong, and where help is; exit code 2."""
        self.exit(2, f"sigbridge: {' '.join(message.splitlines())}; see `{self.prog} --help`\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Checks that a word is among an argument's choices.

        :raises ArgumentError: if it is not; the text says which was probably meant.
        """
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        meant = get_close_matches(str(value), known, 1)
        hint = f" (meant: {meant[0]})" if meant else ""
        raise argparse.ArgumentError(action, f"{value!r} is not one of {', '.join(known)}{hint}")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser: argparse.ArgumentParser = _Parser(
        prog="sigbridge",
        description="A WebRTC signaling server that joins gRPC and WebSocket JSON-RPC 2.0 clients in the same rooms.",
    )
    parser.add_argument("--version", action="version", version=f"sigbridge {version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _add_serve,
        _add_demo,
        _add_peers,
        _add_listen,
        _add_token,
        _add_check,
        _add_bench,
        _add_settings,
        _add_completion,
    ):
        add(commands)
    asked = commands.add_parser("version", help="print the version, and whether the hot path is compiled")
    asked.set_defaults(run=_version)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name


def _add_serve(commands: Commands) -> None:
    """Adds the command `serve`."""
    serve = _command(
        commands,
        "serve",
        "serve both protocols",
        "Serve gRPC and WebSocket until SIGINT or SIGTERM. Settings come from the environment and from the files given "
        "here; `sigbridge settings` lists them.",
        "sigbridge serve\nsigbridge serve --grpc 127.0.0.1:50051 --ws :8080,unix:/run/sigbridge.sock\n"
        "sigbridge serve --env-file prod.env\nsigbridge serve --config sigbridge.toml",
    )
    serve.add_argument("--grpc", metavar="ADDRESSES", help="addresses of gRPC (GRPC_BIND_ADDRESS)")
    serve.add_argument("--ws", metavar="ADDRESSES", help="addresses of WebSocket (WS_BIND_ADDRESS)")
    serve.add_argument(
        "--http", metavar="ADDRESSES", help="addresses of metrics and health, or off (HTTP_BIND_ADDRESS)"
    )
    _add_files(serve)
    serve.set_defaults(run=_serve)


def _add_demo(commands: Commands) -> None:
    """Adds the command `demo`."""
    demo = _command(
        commands,
        "demo",
        "connect two WebRTC peers through a local server",
        "Start a server and two WebRTC peers on loopback, each in its own process, and print their messages. "
        "Exit code 0: bytes arrived through the data channel. With a browser as the caller, print the address of a "
        "page that talks with the callee, and open it on a display; exit code 0: each heard the other.",
        "sigbridge demo\nsigbridge demo --pairing browser-grpc",
    )
    demo.add_argument(
        "--pairing",
        choices=(*PAIRINGS, *PAGE_PAIRINGS),
        default="grpc-websocket",
        help="the caller's protocol, or browser, and the callee's",
    )
    demo.set_defaults(run=_demo)


def _add_peers(commands: Commands) -> None:
    """Adds the command `peers`."""
    peers = _command(
        commands,
        "peers",
        "list the peers of a room",
        "List the peers of a room: as a table on a terminal, as JSON elsewhere.",
        "sigbridge peers grpc://localhost:50051\nsigbridge peers ws://localhost:8080 --room lobby --json",
    )
    _add_url(peers)
    peers.add_argument("--room", default="", help="the room (the default room)")
    peers.add_argument("--json", action="store_true", help="print one JSON object per line")
    peers.set_defaults(run=_peers)


def _add_listen(commands: Commands) -> None:
    """Adds the command `listen`."""
    listen = _command(
        commands,
        "listen",
        "announce a peer and print its events",
        "Announce a peer and print its events as they arrive: as text on a terminal, as one JSON object per line "
        "elsewhere. Only --json shows SDPs and candidates in full.",
        "sigbridge listen ws://localhost:8080 --peer-id watcher",
    )
    _add_url(listen)
    listen.add_argument("--peer-id", required=True, help="the id to announce")
    listen.add_argument("--room", default="", help="the room to enter (the default room)")
    listen.add_argument(
        "--keepalive",
        metavar="SECONDS",
        type=_seconds,
        default=CLIENT_KEEPALIVE_SECONDS,
        help=f"send a small request after so long without sending ({CLIENT_KEEPALIVE_SECONDS:g}); 0: never",
    )
    listen.add_argument(
        "--resume",
        action="store_true",
        help="reconnect after a lost connection as the same peer, and print these events too",
    )
    listen.add_argument("--json", action="store_true", help="print one JSON object per line")
    listen.set_defaults(run=_listen)


def _seconds(text: str) -> float:
    """Returns the number of seconds of an option.

    :raises ArgumentTypeError: if it is below 0 or no number.
    """
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"{text!r}: expected a number of seconds, 0 or more")


def _add_token(commands: Commands) -> None:
    """Adds the command `token` with `create`, `entry` and `check`."""
    token = commands.add_parser("token", help="create, register or check a client's token")
    deeds = token.add_subparsers(title="commands", required=True, metavar="COMMAND")
    create = _command(
        deeds,
        "create",
        "create a JWT",
        "Create a JWT, signed with the key in a file, and print it: for tests and small fleets. The key determines the "
        "algorithm: RS256, ES256, ES384, ES512 or EdDSA for a private key (PEM), HS256 for the first secret of a file.",
        "sigbridge token create --key-file private.pem --subject alice > alice.token\n"
        "sigbridge token create --key-file secrets --subject bob --peer-id 'bob*' --lifetime 1d > bob.token",
    )
    create.add_argument(
        "--key-file",
        metavar="FILE",
        required=True,
        help="a private key (PEM), or secrets of 32 bytes or more, one a line",
    )
    create.add_argument("--subject", metavar="TEXT", required=True, help="its owner (sub)")
    _add_rights(create, "those of SIGNALING_JWT_PEER_IDS (by default the subject and SUBJECT:*)")
    create.add_argument("--lifetime", metavar="TIME", default="1h", help="its lifetime: 90s, 15m, 1h, 30d (1h)")
    create.add_argument(
        "--not-before", metavar="TIME", help="start of its validity (nbf): RFC 3339 with a zone, or Unix seconds (now)"
    )
    create.add_argument("--issuer", metavar="TEXT", help="its issuer (iss)")
    create.add_argument("--audience", metavar="TEXT", action="append", help="its audience (aud); may be repeated")
    create.add_argument("--kid", metavar="TEXT", help="the key's id, where the server has several keys")
    create.set_defaults(run=_token_create)
    entry = _command(
        deeds,
        "entry",
        "print a token's entry for a token file",
        "Read a token, and print its entry for a token file (SIGNALING_TOKENS_FILE). It holds a digest instead of the "
        "token.",
        "openssl rand -hex 32 > alice.token\n"
        "sigbridge token entry --token-file alice.token --subject alice --peer-id 'alice*' >> tokens.jsonl",
    )
    _add_token_file(entry)
    entry.add_argument("--subject", metavar="TEXT", help="its owner; without it: no identity")
    _add_rights(entry, "any id that is not reserved")
    entry.add_argument("--lifetime", metavar="TIME", help="its lifetime from now on: 90s, 15m, 1h, 30d (unlimited)")
    entry.set_defaults(run=_token_entry)
    check = _command(
        deeds,
        "check",
        "show what a token allows, or why it is refused",
        "Read a token, and print what a server with these settings allows its owner, or why it refuses the token. Exit "
        "code 0: valid, 1: refused, 2: the settings are wrong or there is no token.",
        "sigbridge token check --env-file prod.env --token-file alice.token\n"
        "sigbridge token check --json < alice.token",
    )
    _add_token_file(check)
    check.add_argument("--json", action="store_true", help="print one JSON object")
    _add_files(check)
    check.set_defaults(run=_token_check)


def _add_rights(parser: argparse.ArgumentParser, peer_ids_else: str) -> None:
    """Adds the options that say what a token allows."""
    parser.add_argument(
        "--peer-id",
        metavar="PATTERN",
        action="append",
        help=f"an allowed peer id, * for any text; may be repeated; without it: {peer_ids_else}",
    )
    parser.add_argument("--room", metavar="PATTERN", action="append", help="an allowed room, likewise; without it: any")
    parser.add_argument(
        "--right",
        choices=(*sorted(ALL_RIGHTS), "none"),
        action="append",
        help="an allowed action; may be repeated; without it: all",
    )


def _add_token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file", metavar="FILE", help="file with the token; without it: SIGBRIDGE_TOKEN, then stdin"
    )


def _add_check(commands: Commands) -> None:
    """Adds the command `check`."""
    check = _command(
        commands,
        "check",
        "run the compatibility suite against a server",
        "Run every scenario of the compatibility suite over every pairing of the given addresses, in rooms of random "
        "names, and group the differences. Exit code 0: all scenarios pass, 1: the server differs, 2: it cannot be "
        "reached, or is broken. Scenarios about limits expect the default settings.",
        "sigbridge check --grpc localhost:50051 --ws ws://localhost:8080\n"
        "sigbridge check --ws ws://old.example.com:8080 --json",
    )
    check.add_argument("--grpc", metavar="HOST:PORT", help="a server's gRPC address, or unix:/PATH")
    check.add_argument("--ws", metavar="URL", help="a server's WebSocket URL")
    check.add_argument("--tls", action="store_true", help="the gRPC address speaks TLS")
    check.add_argument(
        "--dialect",
        choices=("plain", "dotted"),
        default="plain",
        help="the dialect of JSON-RPC to speak at the WebSocket URL",
    )
    check.add_argument("--only", metavar="NAME", action="append", help="run only this scenario; may be repeated")
    check.add_argument(
        "--patience",
        metavar="SECONDS",
        type=_seconds_above_zero,
        default=5.0,
        help="time limit of a response or event (5)",
    )
    check.add_argument("--json", action="store_true", help="print the verdict and the differences as one JSON object")
    _add_access(check)
    check.set_defaults(run=_check)


def _seconds_above_zero(text: str) -> float:
    """Returns the number of seconds of an option.

    :raises ArgumentTypeError: if it is 0 or less, or no number.
    """
    value = _seconds(text)
    if value:
        return value
    raise argparse.ArgumentTypeError(f"{text!r}: expected a number of seconds above 0")


def _add_bench(commands: Commands) -> None:
    """Adds the command `bench`, which says how to install it if it is not."""
    summary = "measure what signaling costs, beside other servers"
    try:
        # A distribution of its own says what it can measure; this imports words and nothing that they need.
        from sigbridge_bench.command import add_words
    except ImportError:
        # Whatever is asked of it gets the same response: no word is taken for an option that is unknown here.
        absent = commands.add_parser("bench", help=summary, prefix_chars="\0", add_help=False)
        absent.add_argument("words", nargs="*")
        absent.set_defaults(run=_bench_is_not_installed)
    else:
        add_words(commands.add_parser("bench", help=summary))


def _add_settings(commands: Commands) -> None:
    """Adds the command `settings`."""
    settings = _command(
        commands,
        "settings",
        "list every setting, its value and meaning",
        "List every setting with its default, its current value (secrets hidden), the value's source, and its meaning.",
        "sigbridge settings\nsigbridge settings --json --env-file prod.env\nsigbridge settings --config sigbridge.toml",
    )
    settings.add_argument("--json", action="store_true", help="print a JSON array")
    _add_files(settings)
    settings.set_defaults(run=_settings)


def _add_completion(commands: Commands) -> None:
    """Adds the command `completion`."""
    completion = _command(
        commands,
        "completion",
        "print a shell's completion script",
        "Print a completion script for a shell.",
        'eval "$(sigbridge completion bash)"',
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=_completion)


def _command(commands: Commands, name: str, summary: str, text: str, examples: str) -> argparse.ArgumentParser:
    """Adds a command with its help and examples; returns its parser."""
    lines = "".join(f"\n  {example}" for example in examples.split("\n"))
    return commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=f"examples:{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Else `--token SECRET` would be the file of that name.
        allow_abbrev=False,
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name files of settings."""
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        help="read variables from a file of NAME=VALUE lines; the environment takes precedence",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="read settings from a TOML file; the environment and --env-file take precedence",
    )


def _add_url(parser: argparse.ArgumentParser) -> None:
    """Adds the URL of a server, its dialect, and the options of tokens and certificates."""
    parser.add_argument(
        "url",
        metavar="URL",
        help="grpc://, grpcs://, ws:// or wss:// with host and port, or grpc+unix:/PATH or ws+unix:/PATH",
    )
    parser.add_argument(
        "--dialect",
        choices=DIALECTS,
        default=DIALECTS[0],
        help="the dialect of JSON-RPC over WebSocket (plain)",
    )
    _add_access(parser)


def _add_access(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a client's token and certificates."""
    parser.add_argument("--token-file", metavar="FILE", help="file with the API token; without it: SIGBRIDGE_TOKEN")
    parser.add_argument("--ca", metavar="FILE", help="authorities (PEM) that replace the system's")
    parser.add_argument("--cert", metavar="FILE", default="", help="a client certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", default="", help="its private key (PEM)")


# What each command runs. Imports stand here, so that a command loads what it needs and no more.


def _files(options: argparse.Namespace) -> Files:
    return Files(options.env_file, options.config)


def _serve(options: argparse.Namespace) -> int:
    """Serves with the settings of environment, files and options, of which the options come first."""
    from sigbridge_command.serving import serve

    files = _files(options)
    given = Given(files)
    options_given = {
        "grpc_bind_address": options.grpc,
        "ws_bind_address": options.ws,
        "http_bind_address": options.http,
    }
    settings = replace(given.settings(), **{name: value for name, value in options_given.items() if value is not None})
    return serve(settings, given.environ, files)


def _demo(options: argparse.Namespace) -> int:
    """Runs the demo; returns its exit code."""
    from sigbridge_command.demo import run_demo

    caller, callee = options.pairing.split("-")
    return run_demo((caller, callee))


def _peers(options: argparse.Namespace) -> int:
    from sigbridge_command.inspection import print_peers

    return print_peers(options)


def _listen(options: argparse.Namespace) -> int:
    from sigbridge_command.inspection import print_events

    return print_events(options)


def _token_create(options: argparse.Namespace) -> int:
    from sigbridge_command.tokens import create

    return create(options)


def _token_entry(options: argparse.Namespace) -> int:
    from sigbridge_command.tokens import entry

    return entry(options)


def _token_check(options: argparse.Namespace) -> int:
    from sigbridge_command.tokens import check

    return check(options, lambda: Given(_files(options)).settings())


def _check(options: argparse.Namespace) -> int:
    from sigbridge_command.checking import check

    return check(options)


def _bench_is_not_installed(_: argparse.Namespace) -> int:
    raise UsageError("the benchmark is not installed: pip install 'sigbridge[bench]', or `make bench` in a checkout")


def _settings(options: argparse.Namespace) -> int:
    from sigbridge_command.settings_table import print_settings

    return print_settings(Given(_files(options)), as_json=options.json)


def _version(_: argparse.Namespace) -> int:
    print(f"sigbridge {version()}")
    return 0


def _completion(options: argparse.Namespace) -> int:
    """Prints the completion script of a shell; returns 0."""
    import shtab

    print(shtab.complete(make_parser(), shell=options.shell))
    return 0

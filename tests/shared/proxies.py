"""The proxies whose configurations are in `deploy/`, each in a few lines: what is changed for a test, and what is different.

A time limit of silence of 90 s becomes one of 4 s, which `SILENCE_SECONDS` are longer than, and which a busy machine does not
hold up the server's pings for; but for Apache's, which is one of handshakes as well.
"""

from dataclasses import replace

from proxy import Difference, Place, Proxy

SILENCE_SECONDS = 4.5


def _nginx(place: Place) -> dict[str, str]:
    folder = place.folder
    temporary = "".join(
        f"    {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return {
        "listen 443 ": f"listen 127.0.0.1:{place.port} ",
        "server 127.0.0.1:50051;": f"server 127.0.0.1:{place.grpc};",
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{place.ws};",
        "/etc/nginx/tls/fullchain.pem": place.certificate,
        "/etc/nginx/tls/privkey.pem": place.key,
        "server_name signaling.example.org;": "server_name localhost;",
        "proxy_read_timeout 90s;": "proxy_read_timeout 4s;",
        "proxy_send_timeout 90s;": "proxy_send_timeout 4s;",
        # What only a machine's own nginx may write.
        "http {\n": f"http {{\n    access_log {folder}/access.log;\n{temporary}",
    }


def _nginx_words(place: Place, path: str) -> list[str]:
    outside = f"daemon off; pid {place.folder}/nginx.pid; error_log {place.folder}/error.log;"
    return ["-c", path, "-g", outside]


NGINX = Proxy(
    name="nginx",
    program="nginx",
    file="nginx/nginx.conf",
    changes=_nginx,
    command=_nginx_words,
    check=lambda place, path: ["-t", "-q", *_nginx_words(place, path)],
    version=["-v"],
    differences={
        "early_headers": Difference("with the first message", "with TLS it holds the headers of a response back"),
        "streams_of_a_connection": Difference("128", "`http2_max_concurrent_streams`"),
    },
)


def _envoy(place: Place) -> dict[str, str]:
    return {
        'address: "::", port_value: 443, ipv4_compat: true': f"address: 127.0.0.1, port_value: {place.port}",
        "address: 127.0.0.1, port_value: 8080": f"address: 127.0.0.1, port_value: {place.ws}",
        "/etc/envoy/tls/fullchain.pem": place.certificate,
        "/etc/envoy/tls/privkey.pem": place.key,
        "idle_timeout: 90s": "idle_timeout: 4s",
        "\n          interval: 1s\n": "\n          interval: 0.1s\n",
        # Its time limit of silence is 5 min, which the routes overrule. It waits a second for a client to close first, which
        # would be most of the time of the tests.
        "request_headers_timeout: 10s": (
            "request_headers_timeout: 10s\n                stream_idle_timeout: 1s\n                delayed_close_timeout: 0.1s"
        ),
    }


ENVOY = Proxy(
    name="Envoy",
    program="envoy",
    file="envoy/envoy.yaml",
    changes=_envoy,
    # Hot restarts are by a name that all Envoys of a machine have. Each thread has connections to the server of its own, so
    # with one thread all clients share them.
    command=lambda _, path: ["--config-path", path, "--disable-hot-restart", "--concurrency", "1"],
    check=lambda _, path: ["--mode", "validate", "--config-path", path],
    version=["--version"],
    differences={
        "streams_of_a_connection": Difference("1024", "`http2_protocol_options.max_concurrent_streams` changes that"),
    },
)


def _haproxy(place: Place) -> dict[str, str]:
    return {
        "bind :::443 v4v6 ": f"bind 127.0.0.1:{place.port} ",
        "/etc/haproxy/tls/fullchain-and-key.pem": place.both,
        "127.0.0.1:8080": f"127.0.0.1:{place.ws}",
    }


HAPROXY = Proxy(
    name="HAProxy",
    program="haproxy",
    file="haproxy/haproxy.cfg",
    changes=lambda place: (
        _haproxy(place) | {"timeout client  90s": "timeout client 4s", "timeout server  90s": "timeout server 4s"}
    ),
    addresses="proxy",
    command=lambda _, path: ["-db", "-f", path],
    check=lambda _, path: ["-c", "-f", path],
    version=["-v"],
    differences={
        "streams_of_a_connection": Difference("1000", "the server's own limit"),
        "killed_server": Difference("UNAVAILABLE, UNAVAILABLE", "the connection of the client ends with the server's"),
    },
)

HAPROXY_HTTP = replace(
    HAPROXY,
    name="HAProxy in mode http",
    file="haproxy/haproxy-http.cfg",
    changes=lambda place: (
        _haproxy(place)
        | {
            "timeout tunnel          90s": "timeout tunnel 4s",
            "127.0.0.1:50051": f"127.0.0.1:{place.grpc}",
        }
    ),
    addresses="x-forwarded-for",
    differences={
        "streams_of_a_connection": Difference("100", "`tune.h2.max-concurrent-streams` changes that"),
        "killed_server": Difference("CANCELLED, UNAVAILABLE", "it cancels streams whose server is gone"),
    },
)


def _caddy(place: Place) -> dict[str, str]:
    return {
        # What only a machine's own Caddy may write, and time limits that end nothing here.
        "\tadmin off\n": f"\tadmin off\n\tpersist_config off\n\tstorage file_system {place.folder}/storage\n",
        "read_body_idle 1d\n": "read_body_idle 1d\n\t\t\twrite_idle 4s\n\t\t\tidle 4s\n",
        "signaling.example.org:443 {": f"localhost:{place.port} {{\n\tbind 127.0.0.1",
        "127.0.0.1:50051": f"127.0.0.1:{place.grpc}",
        "127.0.0.1:8080": f"127.0.0.1:{place.ws}",
        "/etc/caddy/tls/fullchain.pem": place.certificate,
        "/etc/caddy/tls/privkey.pem": place.key,
    }


CADDY = Proxy(
    name="Caddy",
    program="caddy",
    file="caddy/Caddyfile",
    changes=_caddy,
    command=lambda _, path: ["run", "--adapter", "caddyfile", "--config", path],
    check=lambda _, path: ["validate", "--adapter", "caddyfile", "--config", path],
    # `caddy version` knows nothing where Go has installed it.
    version=["build-info"],
    differences={
        "streams_of_a_connection": Difference("250", "nothing changes that"),
    },
)


def _apache(place: Place) -> dict[str, str]:
    return {
        "signaling.example.org": "localhost",
        "DefaultRuntimeDir /run/apache2\n": f"DefaultRuntimeDir {place.folder}\n",
        "/run/apache2/apache2.pid": f"{place.folder}/apache2.pid",
        "/var/log/apache2/error.log": f"{place.folder}/error.log",
        "Listen 443\n": f"Listen 127.0.0.1:{place.port}\n",
        "<VirtualHost *:443>": f"<VirtualHost *:{place.port}>",
        "127.0.0.1:50051>": f"127.0.0.1:{place.grpc}>",
        "127.0.0.1:50051$1": f"127.0.0.1:{place.grpc}$1",
        "127.0.0.1:8080": f"127.0.0.1:{place.ws}",
        "/etc/apache2/tls/fullchain.pem": place.certificate,
        "/etc/apache2/tls/privkey.pem": place.key,
    }


APACHE = Proxy(
    name="Apache",
    program="apache2",
    file="apache/apache2.conf",
    changes=_apache,
    command=lambda _, path: ["-D", "FOREGROUND", "-f", path],
    check=lambda _, path: ["-t", "-f", path],
    version=["-v"],
    differences={
        "early_headers": Difference("with the first message", "it holds the headers of a response back"),
        "streams_of_a_connection": Difference("6", "it works on no more at once, whatever `H2MaxSessionStreams` says"),
        "many_streams": Difference("on 184 connections", "six on each"),
    },
)

PROXIES = (NGINX, ENVOY, HAPROXY, HAPROXY_HTTP, CADDY, APACHE)

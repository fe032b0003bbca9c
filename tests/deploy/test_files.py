"""Files for a container engine, a cluster or systemd, parsed and held against the server's own settings."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from sigbridge.settings import Settings, setting_infos
from sigbridge_auth.token_file import TokenFile
from sigbridge_command.sources import Files, Given
from sigbridge_server.places import VARIABLES as PLACES
from waiting import TIME_LIMIT_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
VARIABLES = {info.env for info in setting_infos().values()}
SETTING_LIKE = re.compile(r"\b(?:GRPC|WS|HTTP|SIGNALING)_[A-Z_]+\b")
LONGEST_SHUTDOWN_SECONDS = Settings().shutdown_grace_seconds


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def fixed_version(image: str) -> bool:
    """Returns True for an image that is named with a version of at least major and minor."""
    return re.search(r":v?\d+\.\d+", image) is not None


@pytest.mark.parametrize(
    "path",
    [*sorted(DEPLOY.rglob("*")), *(ROOT / "docs" / f"{page}.md" for page in ("running", "security", "deployment"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_variable_that_is_named_is_a_setting(path):
    if path.is_file():
        # The one that is grpcio's own.
        assert set(SETTING_LIKE.findall(path.read_text(encoding="utf-8"))) - {"GRPC_TRACE"} <= VARIABLES


# The configuration file.

EXAMPLE = DEPLOY / "sigbridge.example.toml"


def test_the_example_of_a_configuration_file_sets_what_it_shows(tmp_path):
    given = Given(Files(config=str(EXAMPLE)), {})
    assert given.settings() == Settings(
        grpc_bind_address="0.0.0.0:50051", ws_bind_address="0.0.0.0:8080", json_logging=True, strict_settings=True
    )
    # What stands behind a `#` is right, too.
    whole = tmp_path / "sigbridge.toml"
    whole.write_text(re.sub("^#(?=[A-Z])", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    settings = Given(Files(config=str(whole)), {}).settings()
    assert settings.auth_tokens == ("token-of-today", "token-of-yesterday")
    assert settings.allowed_origins == ("https://app.example.org", "https://*.apps.example.org")
    assert settings.tls_key_file == "/etc/sigbridge/tls/privkey.pem"


def test_the_example_of_the_page_is_right(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "running.md").read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "sigbridge.toml"
    file.write_text(text)
    assert len(Given(Files(config=str(file)), {}).fields) == len(text.splitlines())


# The image.


class Dockerfile:
    """Its instructions, stage by stage."""

    def __init__(self) -> None:
        text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        self.stages: list[list[tuple[str, str]]] = []
        for line in text.replace("\\\n", " ").splitlines():
            if not line.strip():
                continue
            word, _, rest = line.strip().partition(" ")
            if word == "FROM":
                self.stages.append([])
            self.stages[-1].append((word, rest.strip()))

    def last(self, word: str) -> list[str]:
        """Arguments of this instruction in the final stage."""
        return [rest for instruction, rest in self.stages[-1] if instruction == word]


@pytest.fixture
def dockerfile():
    return Dockerfile()


def test_the_image_is_built_in_two_stages_from_fixed_versions(dockerfile):
    assert len(dockerfile.stages) == 2
    for stage in dockerfile.stages:
        assert stage[0][0] == "FROM"
        assert fixed_version(stage[0][1])


def test_the_image_knows_only_instructions_that_docker_knows(dockerfile):
    known = [
        "FROM",
        "ARG",
        "ENV",
        "RUN",
        "COPY",
        "WORKDIR",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ]
    assert {word for stage in dockerfile.stages for word, _ in stage} <= set(known)


def test_the_image_does_not_run_as_root(dockerfile):
    (user,) = dockerfile.last("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    words = [word for word, _ in dockerfile.stages[-1]]
    assert words.index("USER") > words.index("RUN")


def test_the_final_stage_installs_nothing(dockerfile):
    assert not [line for line in dockerfile.last("RUN") if re.search(r"\b(apt-get|pip install|gcc|make)\b", line)]
    assert [line for line in dockerfile.last("RUN") if "pip uninstall" in line]


def test_the_hot_path_is_compiled_in_the_first_stage_or_there_is_no_image(dockerfile):
    build = [rest for word, rest in dockerfile.stages[0] if word == "RUN"]
    assert [line for line in build if re.search(r"apt-get install .*\bgcc\b", line)]
    (install,) = (line for line in build if "pip --python" in line)
    assert install.startswith("SIGBRIDGE_COMPILE=1 ")


def test_the_image_gets_its_signals_and_its_health_check(dockerfile):
    for word in ("ENTRYPOINT", "CMD"):
        (exec_form,) = dockerfile.last(word)
        assert isinstance(json.loads(exec_form), list)
    assert dockerfile.last("STOPSIGNAL") == ["SIGTERM"]
    (check,) = dockerfile.last("HEALTHCHECK")
    options, _, command = check.partition(" CMD ")
    assert set(re.findall(r"--([a-z-]+)=", options)) == {"interval", "timeout", "start-period", "retries"}
    assert json.loads(command) == ["python", "/opt/sigbridge/probe.py"]


def test_what_the_image_copies_is_there_and_not_ignored(dockerfile):
    allowed = [
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    copied = []
    for stage in dockerfile.stages:
        for word, rest in stage:
            if word == "COPY" and not rest.startswith("--from="):
                copied += rest.split()[:-1]
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(Path(name).match(pattern) for pattern in allowed), name
    packages = re.findall(r'^    "([a-z_]+/[a-z_]+)",$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert packages
    for package in packages:
        assert any(package == name or package.startswith(f"{name}/") for name in copied), package


def test_the_image_listens_where_it_says(dockerfile):
    (ports,) = dockerfile.last("EXPOSE")
    (variables,) = dockerfile.last("ENV")
    environment = dict(word.split("=", 1) for word in variables.split())
    addresses = [value for name, value in environment.items() if name.endswith("BIND_ADDRESS")]
    assert [f"[::]:{port}" for port in ports.split()] == addresses
    Settings.from_environment(environment)


def test_the_probe_tells_a_server_that_is_ready_from_one_that_is_not(serve, tmp_path):
    server = serve(HTTP_BIND_ADDRESS=f"127.0.0.1:0,unix:{tmp_path}/http")
    (port,) = re.findall(r"^HTTP listening on 127\.0\.0\.1:(\d+)$", "".join(server.stdout), flags=re.MULTILINE)
    ways = (f"0.0.0.0:{port}", f":{port}", f"[::]:{port}", f"127.0.0.1:{port}, [::1]:1", f"unix:{tmp_path}/http")

    def probe(address):
        return subprocess.run(
            [sys.executable, "-I", DEPLOY / "probe.py"],
            env=os.environ | {"HTTP_BIND_ADDRESS": address, "http_proxy": "http://127.0.0.1:1"},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )

    def ready(address):
        said = probe(address)
        assert said.returncode == 0 or "timed out" in said.stderr, said
        return said if said.returncode == 0 else None

    # It waits for two seconds, in which a busy machine may get to nothing.
    for way in ways:
        assert wait_until(lambda: ready(way), f"the server is ready at {way}").stdout == "ready\n"  # noqa: B023 - called here
    server.stop()
    assert [probe(way).returncode for way in ways] == [1] * len(ways)


# Compose.


@pytest.fixture
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def test_compose_names_only_what_is_there(compose):
    assert set(compose) == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        assert fixed_version(service["image"]), name
        for volume in service.get("volumes", ()):
            if isinstance(volume, dict):
                # What whoever starts it names.
                assert volume["source"].startswith("${")
                assert volume["read_only"] is True
                continue
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (DEPLOY / source).is_dir()
                assert mode == ["ro"]
            else:
                assert source in compose["volumes"]
        assert set(service.get("depends_on", ())) <= set(compose["services"])
    build = compose["services"]["sigbridge"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_compose_shows_the_world_the_two_protocols_only(compose):
    open_ports = [
        port
        for service in compose["services"].values()
        for port in service["ports"]
        if not port.startswith("127.0.0.1:")
    ]
    assert open_ports == ["50051:50051", "8080:8080"]


def test_compose_gives_the_server_less_and_time_to_drain(compose):
    service = compose["services"]["sigbridge"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert seconds(service["stop_grace_period"]) > LONGEST_SHUTDOWN_SECONDS
    assert int(service["environment"]["GRPC_MAX_MEMORY_MB"]) < int(service["mem_limit"].removesuffix("m"))


def test_compose_finds_its_tokens_in_a_folder_that_must_be_named(compose):
    service = compose["services"]["sigbridge"]
    (volume,) = service["volumes"]
    assert volume["source"].startswith("${SIGBRIDGE_TOKENS:?")
    assert volume["bind"] == {"create_host_path": False}
    settings = Settings.from_environment(service["environment"])
    assert Path(settings.tokens_file).parent == Path(volume["target"])
    assert settings.grpc_asks_for_token
    assert settings.websocket_asks_for_token


def test_compose_leads_prometheus_to_the_server_and_grafana_to_prometheus(compose):
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["sigbridge:9090"]}]
    (source,) = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text(encoding="utf-8")
    )["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "dashboards" / "sigbridge.yaml").read_text(encoding="utf-8")
    )["providers"]
    assert any(
        volume == f"./grafana/dashboards:{provider['options']['path']}:ro"
        for volume in compose["services"]["grafana"]["volumes"]
    )


# Kubernetes.


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_what_kubernetes_expects(path):
    (manifest,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    for version in ("1.30", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.fixture
def manifest():
    def read(name):
        return yaml.safe_load((DEPLOY / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8"))

    return read


def test_kustomize_takes_every_manifest_but_the_example(manifest):
    names = [path.name for path in MANIFESTS if ".example." not in path.name]
    assert sorted(manifest("kustomization")["resources"]) == names


def test_there_is_one_replica_and_never_two(manifest):
    deployment = manifest("deployment")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    text = (DEPLOY / "kubernetes" / "deployment.yaml").read_text(encoding="utf-8")
    assert re.search(r"# Peers are not shared between nodes yet[^\n]*\n  replicas: 1\n", text)


def test_the_selectors_select_the_pods(manifest):
    labels = manifest("deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("deployment")["spec"]["selector"] == {"matchLabels": labels}
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("poddisruptionbudget")["spec"]["selector"] == {"matchLabels": labels}
    assert manifest("networkpolicy")["spec"]["podSelector"] == {"matchLabels": labels}


def test_the_pod_has_time_to_drain_and_fewer_rights(manifest):
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    settings = Settings.from_environment(environment)
    assert pod["terminationGracePeriodSeconds"] > settings.shutdown_grace_seconds + 5
    assert settings.max_memory_mb < int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert settings.grpc_asks_for_token
    assert settings.websocket_asks_for_token
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert fixed_version(container["image"])


def test_the_tokens_come_from_the_secret(manifest, tmp_path):
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (file,) = (Path(entry["value"]) for entry in container["env"] if entry["name"] == "SIGNALING_TOKENS_FILE")
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "tokens")
    # A subPath is a file that stays what it was when the pod began.
    assert mount == {"name": "tokens", "mountPath": str(file.parent), "readOnly": True}
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == mount["name"])
    secret = manifest("secret.example")
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    example = tmp_path / file.name
    example.write_text(secret["stringData"][file.name])
    assert len(TokenFile(str(example))) == 2
    # Its own group may read it, and nobody else.
    assert volume["secret"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_the_secret_of_a_turn_server_may_be_there(manifest):
    """A pod starts without it; with it, what the file's comments set is where it lies, and read again when replaced."""
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "turn")
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "turn")
    assert volume["secret"] == {"secretName": "sigbridge-turn", "optional": True, "defaultMode": 0o440}
    text = (ROOT / "deploy" / "kubernetes" / "deployment.yaml").read_text()
    (path,) = re.findall(r"# - name: SIGNALING_TURN_SECRET_FILE\n *#   value: (.*)", text)
    (urls,) = re.findall(r"# - name: SIGNALING_TURN_URLS\n *#   value: (.*)", text)
    assert mount == {"name": "turn", "mountPath": str(Path(path).parent), "readOnly": True}
    settings = Settings.from_environment({"SIGNALING_TURN_URLS": urls, "SIGNALING_TURN_SECRET_FILE": path})
    assert len(settings.turn_urls) == 2


def test_the_probes_ask_the_standard_health_service(manifest):
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    (grpc_port,) = (port["containerPort"] for port in container["ports"] if port["name"] == "grpc")
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[name]["grpc"]["port"] == grpc_port
    assert container["readinessProbe"]["grpc"]["service"] == "remotemedia.v1.webrtc.WebRtcSignaling"
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > LONGEST_SHUTDOWN_SECONDS


def test_a_slow_answer_does_not_cut_clients_from_the_only_pod(manifest):
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[name]["timeoutSeconds"] >= 3
        assert container[name]["failureThreshold"] >= 3


def test_the_metrics_have_a_service_of_their_own_for_those_who_monitor(manifest):
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    names = {port["name"]: port["containerPort"] for port in container["ports"]}
    service = manifest("service-metrics")
    labels = manifest("deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    assert [(port["targetPort"], port["port"]) for port in service["spec"]["ports"]] == [("http", names["http"])]
    assert service["spec"]["type"] == "ClusterIP"
    # Nobody else: neither by the Service of clients nor through the policy.
    assert "http" not in [port["targetPort"] for port in manifest("service")["spec"]["ports"]]
    rules = [rule for rule in manifest("networkpolicy")["spec"]["ingress"] if {"port": "http"} in rule["ports"]]
    assert [rule["from"] for rule in rules] == [
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    ]


def test_traces_have_a_way_out_and_nothing_else_has(manifest):
    policy = manifest("networkpolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    ways = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
        for rule in policy["egress"]
        for peer in rule["to"]
        for port in rule["ports"]
    }
    # OTLP over gRPC and HTTP, and the name of the collector.
    assert ways == {("monitoring", 4317), ("monitoring", 4318), ("kube-system", 53)}


def test_the_image_has_what_its_settings_offer(dockerfile):
    (install,) = (rest for word, rest in dockerfile.stages[0] if word == "RUN" and "pip --python" in rest)
    assert install.endswith("'.[tracing]'")


def test_the_service_leads_to_the_ports_of_both_protocols(manifest):
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    names = {port["name"]: port["containerPort"] for port in container["ports"]}
    ports = {port["targetPort"]: port["port"] for port in manifest("service")["spec"]["ports"]}
    assert ports == {"grpc": names["grpc"], "websocket": names["websocket"]}


# systemd.


@pytest.fixture
def unit(tmp_path):
    """The unit as systemd would read it, with a program that is there."""
    text = (DEPLOY / "systemd" / "sigbridge.service").read_text(encoding="utf-8")
    text = text.replace("/opt/sigbridge/bin/sigbridge", "/bin/true")
    path = tmp_path / "sigbridge.service"
    path.write_text(text, encoding="utf-8")
    return path


def test_systemd_finds_nothing_wrong_with_the_unit(unit, tool):
    verified = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in verified.stderr.splitlines() if "sigbridge" in line] == []
    assert verified.returncode == 0


def test_systemd_finds_the_unit_hardened(unit, tool):
    weighed = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # The threshold is in tenths: an exposure above 2.0 of 10 fails.
    assert weighed.returncode == 0, weighed.stdout[-300:]


def test_systemd_finds_nothing_wrong_with_the_example_of_a_socket_unit(unit, tool):
    path = unit.with_name("sigbridge.socket")
    text = (DEPLOY / "systemd" / "sigbridge.socket").read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    verified = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in verified.stderr.splitlines() if "sigbridge" in line] == []
    assert verified.returncode == 0
    (name,) = re.findall(r"^FileDescriptorName=(.*)$", text, flags=re.MULTILINE)
    assert name in PLACES


def test_the_unit_drains_and_reloads():
    lines = (DEPLOY / "systemd" / "sigbridge.service").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w+=", line))
    assert values["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert values["KillSignal"] == "SIGTERM"
    assert float(values["TimeoutStopSec"]) > LONGEST_SHUTDOWN_SECONDS
    assert int(values["LimitNOFILE"]) > Settings().connection_limit
    assert values["EnvironmentFile"] == "/etc/sigbridge/sigbridge.env"


def test_the_example_of_the_settings_file_is_right():
    text = (DEPLOY / "systemd" / "sigbridge.env.example").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"[A-Z]", line)]
    environment = dict(line.split("=", 1) for line in lines) | {"GRPC_AUTH_TOKENS": "some-token"}
    Settings.from_environment(environment)

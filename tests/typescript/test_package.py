"""The package as npm packs it: what is in it, how large it is, and programs of every kind that use it."""

import gzip
import json
import re
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "typescript"
MOST_BYTES_FOR_BROWSERS = {"sigbridge.js": 8192, "sigbridge-call.js": 4096}

IN_NODE = """
import { type ClientEvent, connect, ConnectionClosed, SignalingError, type SignalingClient } from "sigbridge";
import { Call, Calls, type EndReason } from "sigbridge/call";
import { connect as connectByAny, ConnectionClosed as TheSame } from "sigbridge/grpc";

export async function play(): Promise<SignalingClient> {
  const client = await connect(["ws://127.0.0.1:1", new URL("wss://127.0.0.1")], { token: async () => "t" });
  const other: SignalingClient = await connectByAny("grpcs://127.0.0.1:1", { rootCertificates: "", resume: false });
  const { otherPeers } = await other.announce("alice", { capabilities: { audio: true, screen: 1 }, metadata: {} });
  await other.offer(otherPeers[0]!, { type: "offer", sdp: "v=0" });
  client.addEventListener("peer_joined", ({ detail }) => console.log(detail.peerId, detail.capabilities.audio));
  for await (const event of client) tell(event);
  const closed: TheSame | undefined = client.closed satisfies ConnectionClosed | undefined;
  console.log(closed?.reconnect, closed?.retryAfterMs);
  return client;
}

function tell(event: ClientEvent): string {
  switch (event.kind) {
    case "answer":
      return event.sdp;
    case "ice_candidate":
      return event.candidate;
    case "reconnecting":
      return event.reason;
    default:
      return event.kind;
  }
}

export const isOver = (call: Call, reason: EndReason): boolean => call.reason === reason;

export function codeOf(error: unknown): string {
  return error instanceof SignalingError ? error.code : "";
}

/** A connection of a library, in a program without the types of pages. */
interface OfALibrary {
  readonly signalingState: "stable" | "closed";
  readonly connectionState: "new" | "connected";
  readonly localDescription: { type: "offer"; sdp: string } | null;
  createOffer(options?: object): Promise<{ type: "offer"; sdp: string }>;
  createAnswer(): Promise<{ type: "answer"; sdp: string }>;
  setLocalDescription(description: { type: string; sdp?: string }): Promise<void>;
  setRemoteDescription(description: { type: "offer" | "answer"; sdp: string }): Promise<void>;
  addIceCandidate(candidate?: object | null): Promise<void>;
  addEventListener: (type: string, listener: (event: object) => void) => void;
  close(): Promise<void>;
  readonly own: number;
}

export function answerAll(client: SignalingClient, make: (servers: object[]) => OfALibrary): Calls<OfALibrary> {
  const calls = new Calls(client, async ({ iceServers }, call) => {
    console.log(call.peerId);
    return make(iceServers);
  });
  calls.addEventListener("call", ({ detail: call }) => console.log(call.connection?.own, call.state === "connected"));
  return calls;
}

// @ts-expect-error: this is no connection
void new Calls(await connect("ws://127.0.0.1:1"), () => ({}));
// @ts-expect-error: there is no such option
void connect("ws://127.0.0.1:1", { keepAliveSeconds: 1 });
// @ts-expect-error: certificates are for sigbridge/grpc
void connect("ws://127.0.0.1:1", { rootCertificates: "" });
"""
IN_A_PAGE = """
import { connect } from "sigbridge";
import { Calls } from "sigbridge/call";

export async function callAnybody(stream: MediaStream, show: (stream: MediaStream) => void): Promise<string> {
  const client = await connect("wss://host.example/");
  const calls = new Calls(client, (configuration) => {
    const connection = new RTCPeerConnection(configuration);
    for (const track of stream.getTracks()) connection.addTrack(track, stream);
    connection.addEventListener("track", ({ streams: [theirs] }) => theirs && show(theirs));
    return connection;
  });
  const call = calls.call("bob");
  call.addEventListener("ended", ({ detail: reason }) => console.log(reason satisfies string), { once: true });
  calls.addEventListener("call", ({ detail }) => detail.hangUp());
  const senders: RTCRtpSender[] | undefined = call.connection?.getSenders();
  return `${call.state} ${senders?.length} ${call.reason}`;
}

export async function call(peer: RTCPeerConnection): Promise<void> {
  const client = await connect("wss://host.example/");
  client.addEventListener("offer", async ({ detail }) => {
    await peer.setRemoteDescription(detail);
    await peer.setLocalDescription();
    await client.answer(detail.fromPeerId, peer.localDescription!);
  });
  client.addEventListener("ice_candidate", ({ detail }) => void peer.addIceCandidate(detail));
  peer.addEventListener("icecandidate", ({ candidate }) => void client.iceCandidate("bob", candidate));
  await client.offer("bob", await peer.createOffer());
}
"""
COMPILERS = {
    "node16": ("node16", "node16"),
    "nodenext": ("nodenext", "nodenext"),
    "bundler": ("esnext", "bundler"),
    "node10": ("commonjs", "node10"),
}
OPTIONS = {
    "strict": True,
    "noEmit": True,
    "target": "ES2022",
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "skipLibCheck": False,
}


@pytest.fixture(scope="module")
def packed(node, built, tmp_path_factory):
    """The package as it would be published."""
    folder = tmp_path_factory.mktemp("packed")
    assert (built / "index.js").exists()
    node.run("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def project(node, packed, tmp_path_factory):
    """An empty project that has installed it, and has the packages that it may ask for."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"name":"empty","private":true}')
    node.run("npm", "install", "--silent", "--offline", "--no-audit", "--no-fund", packed, cwd=folder)
    assert [path.name for path in (folder / "node_modules").iterdir() if path.name[0] != "."] == ["sigbridge"]
    for name in ("@grpc", "@types", "ws"):
        (folder / "node_modules" / name).symlink_to(PACKAGE / "node_modules" / name)
    return folder


def test_it_holds_what_is_needed_and_nothing_else(packed):
    with tarfile.open(packed) as archive:
        names = sorted(name.removeprefix("package/") for name in archive.getnames())
        whole = b"".join(archive.extractfile(member).read() for member in archive.getmembers() if member.isfile())
    assert [name for name in names if not name.startswith("dist/")] == [
        *("LICENSE-APACHE", "LICENSE-MIT", "README.md", "package.json")
    ]
    kinds = {re.sub(r"^[^.]+", "", Path(name).name) for name in names if name.startswith("dist/")}
    assert kinds == {".js", ".cjs", ".d.ts", ".d.cts"}
    assert str(ROOT).encode() not in whole


def test_it_says_what_the_project_says():
    said = json.loads((PACKAGE / "package.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (said["version"], said["license"]) == (project["version"], project["license"])
    lock = json.loads((PACKAGE / "package-lock.json").read_text())
    assert lock["version"] == lock["packages"][""]["version"] == project["version"]
    for name in project["license-files"]:
        assert (PACKAGE / name).read_bytes() == (ROOT / name).read_bytes()


def test_installing_it_runs_nothing_and_brings_nothing():
    said = json.loads((PACKAGE / "package.json").read_text())
    assert not {"preinstall", "install", "postinstall", "prepare"} & set(said["scripts"])
    assert "dependencies" not in said
    assert set(said["peerDependencies"]) == {
        name for name, of in said["peerDependenciesMeta"].items() if of["optional"]
    }


def test_its_lock_names_no_registry():
    assert "://" not in re.sub(r'"url": "[^"]*"', "", (PACKAGE / "package-lock.json").read_text())


@pytest.mark.parametrize(("name", "exported"), [("sigbridge.js", b"connect"), ("sigbridge-call.js", b"Calls")])
def test_it_is_small_in_browsers_and_needs_nothing(built, name, exported):
    script = (built / name).read_bytes()
    assert len(gzip.compress(script, 9)) <= MOST_BYTES_FOR_BROWSERS[name]
    assert not re.findall(rb"\bimport\b|\brequire\b|\bfrom\s*[\"']|sourceMappingURL", script)
    assert re.search(rb"export\{.*\bas %b\b" % exported, script)


def test_calls_bring_nothing_of_the_client(built):
    assert not re.findall(r"^import |require\(", (built / "call.js").read_text(), re.MULTILINE)
    assert "WebSocket" not in (built / "sigbridge-call.js").read_text()


@pytest.mark.soak
def test_its_build_is_the_same_again(node, built):
    before = {path: path.read_bytes() for path in sorted(built.rglob("*")) if path.is_file()}
    node("build.mjs")
    assert {path: path.read_bytes() for path in sorted(built.rglob("*")) if path.is_file()} == before


def test_no_types_of_packages_that_are_not_there(built):
    for path in built.rglob("*.d.*ts"):
        text = re.sub(r"^ ?\*.*", "", path.read_text(), flags=re.MULTILINE)
        named = re.findall(r"""(?:from |import\()["']([^"']+)["']""", text)
        suffix = ".cjs" if path.name.endswith(".d.cts") else ".js"
        assert all(name.startswith(".") and name.endswith(suffix) for name in named), (path, named)


def test_programs_compile(node, project):
    programs = []
    for kind, (module, resolution) in COMPILERS.items():
        for name, text, lib, types in (
            ("program.mts", IN_NODE, ["ES2022"], ["node"]),
            ("program.cts", IN_NODE, ["ES2022"], ["node"]),
            ("page.ts", IN_A_PAGE, ["ES2022", "DOM"], []),
        ):
            file = project / f"{kind}-{name}"
            file.write_text(text)
            options = {**OPTIONS, "module": module, "moduleResolution": resolution, "lib": lib, "types": types}
            programs.append(json.dumps({"file": str(file), "options": options}))
    script = Path(__file__).with_name("compile.mjs")
    said = node(script, PACKAGE / "node_modules" / "typescript", *programs)
    assert not said, said


USED = """
if (connect !== connectByAny && SignalingError === other.SignalingError && new other.ConnectionClosed("r") instanceof Error) {
  connect("ws://127.0.0.1:1", { resume: false }).catch((error) => {
    if (error instanceof other.ConnectionClosed) console.log("closed");
  });
  connectByAny("grpc://127.0.0.1:1", { resume: false }).catch((error) => {
    if (error instanceof ConnectionClosed) console.log("closed");
  });
}
"""


def test_programs_run(node, project):
    names = "{ connect, ConnectionClosed, SignalingError }"
    (project / "esm.mjs").write_text(
        f"import {names} from 'sigbridge';\nimport * as other from 'sigbridge/grpc';\n"
        f"import {{ WebSocket }} from 'ws';\nglobalThis.WebSocket ??= WebSocket;\n"
        f"const connectByAny = other.connect;\n{USED}"
    )
    (project / "cjs.cjs").write_text(
        f"const {names} = require('sigbridge');\nconst other = require('sigbridge/grpc');\n"
        f"globalThis.WebSocket ??= require('ws').WebSocket;\nconst connectByAny = other.connect;\n{USED}"
    )
    for name in ("esm.mjs", "cjs.cjs"):
        assert node(name, cwd=project) == "closed\nclosed\n"


def test_calls_are_loaded_by_programs_of_both_kinds(node, project):
    tell = (
        "console.log([typeof Calls, typeof Call, new Calls({ addEventListener() {} }) instanceof EventTarget].join());"
    )
    (project / "call.mjs").write_text(f"import {{ Call, Calls }} from 'sigbridge/call';\n{tell}")
    (project / "call.cjs").write_text(f"const {{ Call, Calls }} = require('sigbridge/call');\n{tell}")
    (project / "served.mjs").write_text(f"import {{ Call, Calls }} from 'sigbridge/browser-call';\n{tell}")
    for name in ("call.mjs", "call.cjs", "served.mjs"):
        assert node(name, cwd=project) == "function,function,true\n"


def test_the_file_for_browsers_is_a_module(node, project):
    (project / "page.mjs").write_text(
        "import * as one from 'sigbridge/browser';\nconsole.log(Object.keys(one).sort().join(' '));\n"
    )
    said = node("page.mjs", cwd=project).split()
    assert said == ["Code", "ConnectionClosed", "OutcomeUnknown", "SigbridgeError", "SignalingError", "connect"]

"""Manifests and their nodes, without a server."""

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from pipeline_host.client import MANIFESTS, read_manifest
from pipeline_host.data import Data, DataError, Json, Text
from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.pipeline import InputError, ManifestError, Pipeline, Stopped, TooMuchMemory
from pipeline_host.registry import NODE_TYPES
from pipeline_host.translate import data_from_proto, data_to_proto


def pipeline(*nodes: tuple, connections: tuple[str, ...] = (), name: str = "") -> Pipeline:
    """`(id, type, params)` for each node, `"a b"` for each connection."""
    manifest = {
        "name": name,
        "nodes": [
            {"id": node_id, "type": kind, "params": params[0] if params else {}} for node_id, kind, *params in nodes
        ],
        "connections": [dict(zip(("from_node", "to_node"), each.split(), strict=True)) for each in connections],
    }
    return Pipeline(json_format.ParseDict(manifest, pb.Manifest()))


def only(kind: str, item: Data, **params) -> Data:
    """Result of a single node for an item."""
    return pipeline(("node", kind, params)).run(item)["node"]


@pytest.mark.parametrize("item", [Text("as it is"), Json({"a": [1.0, None]})])
def test_pass_through_gives_the_very_object(item):
    assert only("pass_through", item) is item


@pytest.mark.parametrize(
    ("kind", "params", "text", "result"),
    [
        ("text.upper", {}, "straße \u0390", "STRASSE \u0399\u0308\u0301"),
        ("text.lower", {}, "ÀB \u0130", "àb i\u0307"),
        ("text.replace", {"old": "a", "new": "oo"}, "banana", "boonoonoo"),
        ("text.replace", {"old": "an", "new": ""}, "banana", "ba"),
        ("text.concat", {}, "one", "one"),
    ],
)
def test_text(kind, params, text, result):
    assert only(kind, Text(text), **params) == Text(result)


def test_concat_takes_its_inputs_in_the_order_of_the_connections():
    made = pipeline(
        ("small", "text.lower"),
        ("big", "text.upper"),
        ("join", "text.concat", {"separator": "-"}),
        connections=("big join", "small join"),
    )
    assert made.run(Text("Aa")) == {"join": Text("AA-aa")}


def test_json_is_calculated_and_its_input_is_not_changed():
    item = Json({"price": 2.5, "order": {"count": 4.0}})
    result = only("json.calculate", item, expression="price * order.count", into="total")
    assert result == Json({"price": 2.5, "order": {"count": 4.0}, "total": 10.0})
    assert "total" not in item.value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1.0, 2.5, None, True, "ü"]}, '{"a":[1,2.5,null,true,"ü"]}'),
        (1e300, "1e300"),
        ("x", '"x"'),
        (float(2**53), "9007199254740992.0"),
    ],
)
def test_json_to_text_and_back(value, text):
    assert only("json.to_text", Json(value)) == Text(text)
    assert only("json.from_text", Text(text)) == Json(value)


@pytest.mark.parametrize("text", ["", "{", "NaN", "1e400", "9" * 400, "[" * 100_000, "[" * 30 + "]" * 30, '"\\ud800"'])
def test_what_is_no_json_text_is_refused(text):
    with pytest.raises(InputError, match="Node 'node' needs JSON"):
        only("json.from_text", Text(text))


def test_the_deepest_json_can_be_sent():
    deepest = "{".join(['"a":'] * 25).removeprefix('"a":') + "1" + "}" * 24
    value = only("json.from_text", Text(deepest))
    response = pb.ExecutePipelineResponse(outputs=[pb.Output(node_id="n", data=data_to_proto(value))])
    again = pb.ExecutePipelineResponse.FromString(response.SerializeToString())
    assert data_from_proto(again.outputs[0].data) == value


def test_json_is_sent_as_it_is():
    value = {"a": [1.0, "b", True, False, None, {"c": {}}], "": []}
    message = data_to_proto(Json(value))
    assert json_format.MessageToDict(message.json) == value
    assert data_from_proto(message) == Json(value)


def test_numbers_that_json_cannot_say_are_refused():
    message = pb.Data()
    message.json.list_value.values.add(number_value=float("inf"))
    with pytest.raises(DataError, match="not finite"):
        data_from_proto(message)


def test_every_node_without_a_target_is_an_output_and_a_diamond_meets():
    made = pipeline(
        ("in", "pass_through"),
        ("up", "text.upper"),
        ("low", "text.lower"),
        ("both", "text.concat"),
        ("alone", "text.replace", {"old": "x", "new": "y"}),
        connections=("in up", "in low", "up both", "low both"),
    )
    assert list(made.run(Text("xX")).items()) == [("both", Text("XXxx")), ("alone", Text("yX"))]


NODE = ("a", "pass_through")
WRONG = {
    "no nodes": ((), (), "The manifest has no nodes"),
    "no id": ((("", "pass_through"),), (), "Node 1 of the manifest has no id"),
    "long id": ((("a" * 65, "pass_through"),), (), "longer than 64 characters"),
    "unknown type": ((("a", "text.sideways"),), (), "Node 'a' has the unknown type 'text.sideways': there are pass"),
    "same id": ((NODE, NODE), (), "Node 'a' is there twice"),
    "dangling target": ((NODE,), ("a gone",), "Node 'gone' does not exist, but a connection with 'a' names it"),
    "dangling source": ((NODE,), ("gone a",), "Node 'gone' does not exist, but a connection with 'a' names it"),
    "itself": ((NODE,), ("a a",), "Node 'a' is part of a cycle"),
    "cycle": (
        (("start", "pass_through"), ("b", "text.concat"), ("c", "text.upper"), ("end", "text.upper")),
        ("start b", "b c", "c b", "c end"),
        r"Node '[bc]' is part of a cycle",
    ),
    "two inputs": (
        (NODE, ("b", "pass_through"), ("c", "text.upper")),
        ("a c", "b c"),
        "Node 'c' takes one input, but 'a' and 'b' lead to it",
    ),
    "the same twice": ((NODE, ("c", "text.concat")), ("a c", "a c"), "Node 'c' is connected with 'a' twice"),
    "kinds": (
        (("a", "text.upper"), ("p", "pass_through"), ("b", "audio.gain", {"decibels": 1})),
        ("a p", "p b"),
        "Node 'b' takes audio, but 'p' gives text",
    ),
    "param missing": ((("a", "text.replace", {"old": "x"}),), (), r"Node 'a' \(text.replace\): param 'new' is missing"),
    "param null": ((("a", "text.replace", {"old": None, "new": ""}),), (), "param 'old' is missing"),
    "param empty": ((("a", "text.replace", {"old": "", "new": "x"}),), (), "Node 'a' .*param 'old' is empty"),
    "param unknown": ((("a", "text.upper", {"case": "up"}),), (), "Node 'a' .*param 'case' is unknown"),
    "param no string": ((("a", "text.concat", {"separator": 1}),), (), "Node 'a' .*'separator' must be a string"),
    "param no number": ((("a", "audio.gain", {"decibels": True}),), (), "must be a number from -120 to 60"),
    "param too large": ((("a", "audio.gain", {"decibels": 61}),), (), "must be a number from -120 to 60"),
    "param no whole number": ((("a", "audio.resample", {"sample_rate_hz": 8000.5}),), (), "must be a whole number"),
    "expression": (
        (("a", "json.calculate", {"expression": "1 +", "into": "x"}),),
        (),
        r"Node 'a' \(json.calculate\): param 'expression' ends too early",
    ),
    "nodes": (tuple((str(n), "pass_through") for n in range(65)), (), "has 65 nodes: it may have 64"),
    "bytes": ((("a", "text.replace", {"old": "x" * 70_000, "new": ""}),), (), "bytes: it may have 65536"),
}


@pytest.mark.parametrize(("nodes", "connections", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_is_refused_and_the_error_names_the_node(nodes, connections, says):
    with pytest.raises(ManifestError, match=says):
        pipeline(*nodes, connections=connections)


def test_too_many_connections_are_refused():
    connections = tuple("a b" for _ in range(257))
    with pytest.raises(ManifestError, match="has 257 connections: it may have 256"):
        pipeline(NODE, ("b", "text.concat"), connections=connections)


def test_params_that_are_no_numbers_are_refused():
    manifest = pb.Manifest(nodes=[pb.Node(id="a", type="audio.gain")])
    manifest.nodes[0].params["decibels"] = float("nan")
    with pytest.raises(ManifestError, match=r"Node 'a' .*must be a number"):
        Pipeline(manifest)


@pytest.mark.parametrize(
    ("kind", "params", "item", "says"),
    [
        ("text.upper", {}, Json(1.0), "Node 'node' takes text, but got JSON"),
        ("json.calculate", {"expression": "a", "into": "b"}, Json([]), "Node 'node' needs a JSON object"),
        ("json.calculate", {"expression": "a", "into": "b"}, Json({}), "Node 'node' needs the field 'a'"),
        ("json.calculate", {"expression": "1 / a", "into": "b"}, Json({"a": 0.0}), "Node 'node' divides by zero"),
    ],
)
def test_wrong_data_is_refused_and_the_error_names_the_node(kind, params, item, says):
    with pytest.raises(InputError, match=says):
        only(kind, item, **params)


def test_what_an_item_would_hold_is_refused_before_it_is_taken():
    made = pipeline(("blow", "text.replace", {"old": "a", "new": "b" * 60_000}))
    with pytest.raises(
        TooMuchMemory, match=r"Node 'blow' could take the pipeline to \d{12} bytes: it may hold 1048576"
    ):
        made.run(Text("a" * 1_000_000), limit_bytes=2**20)


@pytest.mark.parametrize("kind", sorted(NODE_TYPES))
def test_no_node_takes_more_than_it_says(kind):
    """The result of every text and JSON node, for texts that grow."""
    node = NODE_TYPES[kind]
    params = {"text.replace": {"old": "a", "new": "😀😀"}, "json.calculate": {"expression": "1", "into": "x"}}
    for text in (
        "",
        "a" * 1000,
        "\u0390\u0149ß" * 1000,
        "[[],{}]",
        "[" + ",".join(["[]"] * 1000) + "]",
        '{"a":"\\u0000ü"}',
    ):
        item: Data = Text(text)
        if node.takes is Json:
            try:
                item = only("json.from_text", item)
            except InputError:
                continue
        if node.takes not in (None, type(item)):
            continue
        made = pipeline(("node", kind, params.get(kind, {})))
        try:
            result = made.run(item)["node"]
        except InputError:
            continue
        said = made._nodes["node"].needs_bytes([item])
        assert kind == "pass_through" or result.size_bytes <= said + 256, text[:20]


def test_what_no_node_needs_any_more_is_not_counted():
    """A long chain holds two results at a time, however long it is."""
    size = 100_000
    chain = [(str(number), "text.upper") for number in range(60)]
    made = pipeline(*chain, connections=tuple(f"{number} {number + 1}" for number in range(59)))
    assert made.run(Text("a" * size), limit_bytes=20 * size)["59"] == Text("A" * size)


def test_it_stops_between_nodes():
    made = pipeline(("a", "text.upper"), ("b", "text.upper"), connections=("a b",))
    asked = iter((False, True))
    with pytest.raises(Stopped):
        made.run(Text("x"), stopped=lambda: next(asked))


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_manifests_that_come_with_it_are_right(path: Path):
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == path.stem
    Pipeline(read_manifest(path.stem))

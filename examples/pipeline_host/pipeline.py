"""A manifest, checked and made into nodes, and one item's way through them.

Rule 1: a wrong manifest is refused as a whole, before any node has seen data; the error names the node. Rule 2: a node
that no connection leads to gets the pipeline's input; one that none leads away from gives an output. Rule 3: what an
item holds on its way is counted, and a node that would take it over the limit is not run. Rule 4: between two nodes it
may be told to stop; a node that has begun is not interrupted.
"""

from collections.abc import Callable
from typing import Any

from pipeline_host.data import KIND_NAMES, Audio, Data, DataError, Json, Text
from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.node import Node, ParamError, Params
from pipeline_host.registry import NODE_TYPES
from pipeline_host.translate import params_from_proto

MOST_MANIFEST_BYTES = 65_536
MOST_NODES = 64
MOST_CONNECTIONS = 256
MOST_NAME_CHARACTERS = 64
"""Of the manifest's name and of each id, which stand in logs and error texts."""


class PipelineError(Exception):
    """A pipeline was refused or has failed, by a fault of the client's or for a limit; the text is for the client."""


class ManifestError(PipelineError):
    """The manifest is wrong; nothing has run."""


class InputError(PipelineError):
    """The data is not what a node can work with."""


class TooMuchMemory(PipelineError):
    """A node would take the pipeline over its limit."""


class Stopped(Exception):
    """End of a run whose result is not waited for any more."""


class Pipeline:
    """The nodes of one manifest, with their state: made for one call or one stream."""

    def __init__(self, manifest: pb.Manifest) -> None:
        """Checks the manifest, and makes its nodes.

        :raises ManifestError: if it is wrong.
        """
        _check_size(manifest)
        self.name = manifest.name
        self._nodes: dict[str, Node[Any]] = {}
        for node in manifest.nodes:
            self._nodes[_free_id(node.id, self._nodes)] = _make_node(node)
        self._sources: dict[str, list[str]] = {node_id: [] for node_id in self._nodes}
        """Ids of the nodes that lead to each node, in the order of the manifest."""
        self._targets: dict[str, list[str]] = {node_id: [] for node_id in self._nodes}
        for connection in manifest.connections:
            self._connect(connection.from_node, connection.to_node)
        self._order = self._sorted()
        self._check_kinds()

    def run(
        self, item: Data, *, limit_bytes: int | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> dict[str, Data]:
        """Takes one item through the nodes; returns the outputs by node, in the order of the manifest.

        :raises InputError: if a node cannot work with it.
        :raises TooMuchMemory: if a node would exceed the limit.
        :raises Stopped: if nobody waits for the result any more.
        """
        results: dict[str, Data] = {}
        waited_for = {node_id: len(targets) for node_id, targets in self._targets.items()}
        for node_id in self._order:
            if stopped():
                raise Stopped
            sources = self._sources[node_id]
            inputs = [results[source] for source in sources] or [item]
            held = item.size_bytes + sum(result.size_bytes for result in results.values())
            results[node_id] = _process(node_id, self._nodes[node_id], inputs, held, limit_bytes)
            for source in sources:
                waited_for[source] -= 1
                if not waited_for[source]:
                    del results[source]
        return {node_id: results[node_id] for node_id in self._nodes if node_id in results}

    def _connect(self, source: str, target: str) -> None:
        for end, other in ((source, target), (target, source)):
            if end not in self._nodes:
                raise ManifestError(f"Node {end!r} does not exist, but a connection with {other!r} names it")
        if source in self._sources[target]:
            raise ManifestError(f"Node {target!r} is connected with {source!r} twice")
        if self._sources[target] and not self._nodes[target].several_inputs:
            first = self._sources[target][0]
            raise ManifestError(f"Node {target!r} takes one input, but {first!r} and {source!r} lead to it")
        self._sources[target].append(source)
        self._targets[source].append(target)

    def _sorted(self) -> list[str]:
        """The nodes, each after all that lead to it."""
        missing = {node_id: len(sources) for node_id, sources in self._sources.items()}
        order = [node_id for node_id, count in missing.items() if not count]
        for node_id in order:
            for target in self._targets[node_id]:
                missing[target] -= 1
                if not missing[target]:
                    order.append(target)
        if len(order) < len(self._nodes):
            raise ManifestError(f"Node {self._one_of_a_cycle(set(order))!r} is part of a cycle")
        return order

    def _one_of_a_cycle(self, done: set[str]) -> str:
        """A node that leads back to itself: every node that is not done has a source that is not done either."""
        node_id = next(node_id for node_id in self._nodes if node_id not in done)
        seen: set[str] = set()
        while node_id not in seen:
            seen.add(node_id)
            node_id = next(source for source in self._sources[node_id] if source not in done)
        return node_id

    def _check_kinds(self) -> None:
        """Refuses connections between nodes that cannot understand each other."""
        given: dict[str, type[Text | Json | Audio] | None] = {}
        for node_id in self._order:
            node = self._nodes[node_id]
            found = None
            for source in self._sources[node_id]:
                found = given[source]
                if None not in (found, node.takes) and found is not node.takes:
                    raise ManifestError(
                        f"Node {node_id!r} takes {_name(node.takes)}, but {source!r} gives {_name(found)}"
                    )
            given[node_id] = node.gives or found


def _process(node_id: str, node: Node[Any], inputs: list[Data], held: int, limit_bytes: int | None) -> Data:
    for data in inputs:
        if node.takes is not None and not isinstance(data, node.takes):
            raise InputError(f"Node {node_id!r} takes {_name(node.takes)}, but got {_name(type(data))}")
    needed = held + node.needs_bytes(inputs)
    if limit_bytes is not None and needed > limit_bytes:
        raise TooMuchMemory(f"Node {node_id!r} could take the pipeline to {needed} bytes: it may hold {limit_bytes}")
    try:
        return node.process(inputs)
    except DataError as error:
        raise InputError(f"Node {node_id!r} {error}") from None


def _check_size(manifest: pb.Manifest) -> None:
    size = manifest.ByteSize()
    if size > MOST_MANIFEST_BYTES:
        raise ManifestError(f"The manifest has {size} bytes: it may have {MOST_MANIFEST_BYTES}")
    for what, count, most in (
        ("nodes", len(manifest.nodes), MOST_NODES),
        ("connections", len(manifest.connections), MOST_CONNECTIONS),
    ):
        if count > most:
            raise ManifestError(f"The manifest has {count} {what}: it may have {most}")
    if not manifest.nodes:
        raise ManifestError("The manifest has no nodes")
    for name in (manifest.name, *(node.id for node in manifest.nodes)):
        if len(name) > MOST_NAME_CHARACTERS:
            cut = f"{name[:MOST_NAME_CHARACTERS]}…"
            raise ManifestError(f"The name or id {cut!r} is longer than {MOST_NAME_CHARACTERS} characters")


def _free_id(node_id: str, taken: dict[str, Node[Any]]) -> str:
    if not node_id:
        raise ManifestError(f"Node {len(taken) + 1} of the manifest has no id")
    if node_id in taken:
        raise ManifestError(f"Node {node_id!r} is there twice")
    return node_id


def _make_node(node: pb.Node) -> Node[Any]:
    kind = NODE_TYPES.get(node.type)
    if kind is None:
        raise ManifestError(f"Node {node.id!r} has the unknown type {node.type!r}: there are {', '.join(NODE_TYPES)}")
    params = Params(params_from_proto(node.params))
    try:
        made = kind(params)
        params.refuse_others()
    except ParamError as error:
        raise ManifestError(f"Node {node.id!r} ({node.type}): {error}") from None
    return made


def _name(kind: type[Text | Json | Audio] | None) -> str:
    return KIND_NAMES[kind] if kind is not None else "anything"

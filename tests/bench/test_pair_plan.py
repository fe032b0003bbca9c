"""A plan has every figure that there is, and opens only the sessions that these need."""

from sigbridge_bench.pair_plan import PAIRINGS, Plan, planned


def test_a_plan_has_a_figure_for_every_pairing_message_and_burst():
    plan = planned("native", quick=False)
    relays = [figure for figure in plan.figures if figure.what == "relays"]
    assert len(set(relays)) == 4 * 2 * 2
    assert {figure.way for figure in relays} == set(PAIRINGS)
    rest = [str(figure) for figure in plan.figures if figure.what != "relays"]
    ways = [*(f"gRPC, {name}'s headers" for name in ("grpcio", "grpc-go", "grpc-js", "tonic")), "gRPC, plain headers"]
    assert rest == [
        *(f"setup {way}, {of}" for way in [*ways, "WebSocket"] for of in ("by slice", "all together")),
        "memory gRPC, grpcio's headers",
        "memory WebSocket",
    ]


def test_sessions_are_opened_only_for_what_is_asked_for():
    openings = {only: Plan(only=(only,)) for only in ("relays", "setup", "memory", "returns")}
    assert [len(plan.kept) for plan in openings.values()] == [0, 0, 2, 0]
    assert [len(plan.closed) for plan in openings.values()] == [0, 6, 0, 0]
    assert [len(plan.returning) for plan in openings.values()] == [0, 0, 0, 2]
    assert Plan().connections == 2 * 8 * 1500
    assert Plan().most_at_once == 2 * 3 * 1500


def test_of_grpcio_only_what_is_its_own_is_measured():
    plan = planned("grpcio", quick=True)
    assert "websocket-websocket" not in plan.ways
    assert {opening.protocol for opening in (*plan.kept, *plan.closed)} == {"grpc"}
    assert plan.messages < planned("native", quick=True).messages

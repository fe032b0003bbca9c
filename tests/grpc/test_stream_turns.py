"""The turns of the streams of one connection on grpc.aio, without a server."""

import asyncio

from sigbridge.share import EVENTS_PER_TURN, FRESH
from sigbridge_grpc.stream_turns import ConnectionTurns, StreamTurns


async def test_who_has_a_share_goes_on_at_once() -> None:
    turns = ConnectionTurns()
    for _ in range(3):
        await turns.wait()
        turns.share.use(1)
    assert turns.share.used == 3


async def test_those_who_wait_go_on_in_their_order_one_in_each_turn() -> None:
    turns, order = ConnectionTurns(), []
    loop_turns = [0]

    def count() -> None:
        loop_turns[0] += 1
        counting[0] = asyncio.get_running_loop().call_soon(count)

    async def stream(number: int) -> None:
        for _ in range(2):
            await turns.wait()
            assert turns.share.state == FRESH
            order.append((number, loop_turns[0]))
            turns.share.use(EVENTS_PER_TURN)

    counting = [asyncio.get_running_loop().call_soon(count)]
    await asyncio.gather(*(stream(number) for number in range(4)))
    counting[0].cancel()
    # The first one comes again before the others have come at all.
    assert [number for number, _ in order] == [0, 0, 1, 2, 3, 1, 2, 3]
    assert len({turn for _, turn in order}) == len(order)


async def test_who_is_cancelled_waits_no_more() -> None:
    turns = ConnectionTurns()
    turns.share.use(EVENTS_PER_TURN)
    first, second = (asyncio.ensure_future(turns.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled() or first.cancelling()
    await turns.wait()


async def test_a_connection_is_known_as_long_as_it_has_streams() -> None:
    turns = StreamTurns()
    one = turns.join("ipv4:192.0.2.1:1")
    assert turns.join("ipv4:192.0.2.1:1") is one
    assert turns.join("ipv4:192.0.2.1:2") is not one
    for peer in ("ipv4:192.0.2.1:1", "ipv4:192.0.2.1:2"):
        turns.leave(peer)
    assert len(turns) == 1
    turns.leave("ipv4:192.0.2.1:1")
    assert len(turns) == 0

"""Histories of peers: what they have sent, been answered and heard, held against what resumable sessions owe them.

A message is known by its key, which its sender gives it once. For every two peers: what one has sent and seen
acknowledged, the other has heard, once and in the order of sending; what was refused, it has not. Every request has one
outcome, which is known. Nobody has heard that a peer went or came while it was only lost.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

ACKNOWLEDGED: Final = "ok"


@dataclass
class Sent:
    """One request: `outcomes` are `ok` or names of refusals, and there should be one.

    `resumes` are how often its peer had been resumed when it was sent, and when its outcome came.
    """

    to: str
    key: str
    outcomes: list[str] = field(default_factory=list)
    resumes: list[int] = field(default_factory=list)


@dataclass
class Heard:
    """One message that arrived."""

    sender: str
    key: str


@dataclass
class History:
    """History of one peer, each list in its order."""

    name: str
    sent: list[Sent] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    roster: list[str] = field(default_factory=list)
    """`joined NAME` and `left NAME`, as it was told."""
    lost: list[str] = field(default_factory=list)
    """Words of its client on sessions that did not survive."""


def faults(histories: list[History], onlookers: list[History]) -> list[str]:
    """Everything that is not as it should be, one line each; `onlookers` have only a roster."""
    found = [line for history in histories for line in _of_one(history)]
    for sender in histories:
        for receiver in histories:
            if sender is not receiver:
                found += _between(sender, receiver)
    names = {history.name for history in histories}
    for one in (*histories, *onlookers):
        expected = Counter(f"joined {name}" for name in names - {one.name})
        told = Counter(line for line in one.roster if line.partition(" ")[2] in names)
        found += [f"{one.name} was told {count} times: {line}" for line, count in (told - expected).items()]
        if one in onlookers:
            found += [f"{one.name} was never told: {line}" for line in expected - told]
    return found


def _of_one(history: History) -> list[str]:
    name = history.name
    found = [f"{name} lost its session: {text}" for text in history.lost]
    for sent in history.sent:
        if len(sent.outcomes) != 1:
            found.append(f"{name} to {sent.to}: {sent.key} has the outcomes {sent.outcomes}")
        elif sent.outcomes[0] == "unknown":
            found.append(f"{name} to {sent.to}: nobody knows what became of {sent.key}")
    keys = Counter((sent.to, sent.key) for sent in history.sent)
    found += [f"{name} gave {count} messages the key {key}" for key, count in keys.items() if count > 1]
    return found


def _between(sender: History, receiver: History) -> list[str]:
    pair = f"{sender.name} to {receiver.name}"
    sent = [one for one in sender.sent if one.to == receiver.name]
    acknowledged = [one.key for one in sent if one.outcomes == [ACKNOWLEDGED]]
    refused = {one.key for one in sent if one.outcomes and ACKNOWLEDGED not in one.outcomes}
    heard = [one.key for one in receiver.heard if one.sender == sender.name]
    times = Counter(heard)
    found = [f"{pair}: {key} was acknowledged and never heard" for key in acknowledged if not times[key]]
    found += [f"{pair}: {key} was heard {count} times" for key, count in times.items() if count > 1]
    found += [f"{pair}: {key} was refused and heard all the same" for key in times if key in refused]
    known = {one.key for one in sent}
    found += [f"{pair}: {key} was heard and never sent" for key in times if key not in known]
    if not found and heard != acknowledged:
        first = next(index for index, (one, other) in enumerate(zip(heard, acknowledged, strict=True)) if one != other)
        found.append(f"{pair}: {heard[first]} was heard before {acknowledged[first]}")
    return found


def answered_after_resumes(histories: list[History]) -> int:
    """The requests that were in flight when a session was lost, and answered by a later one."""
    return sum(len(set(sent.resumes)) > 1 for history in histories for sent in history.sent)

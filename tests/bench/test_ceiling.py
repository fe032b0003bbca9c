"""The search for the ceiling of what a server relays, and the progress of a run on a terminal and elsewhere."""

import msgspec

from sigbridge_bench import measurements
from sigbridge_bench.load import Result
from sigbridge_bench.measurements import LIMIT_SECONDS
from sigbridge_bench.progress import Progress

# The search for the ceiling.


class PretendedPairs:
    """Pairs of a server whose latency leaves the limit at a rate; and a load that is late from another one on."""

    pairing = "grpc-grpc"

    def __init__(self, highest, *, load=1e9, hiccups=()):
        self.highest = highest
        self.load = load
        self.hiccups = list(hiccups)
        self.rates = []

    def pace(self, message, rate, seconds):
        self.rates.append(rate)
        slow = rate > self.highest or rate > self.load or len(self.rates) - 1 in self.hiccups
        p99 = LIMIT_SECONDS * (2 if slow else 0.5)
        late = 2 * LIMIT_SECONDS if rate > self.load else 0.0
        common = {"seconds": 1, "load_cpu": 0, "bytes_to_server": 0, "bytes_from_server": 0}
        return msgspec.convert({**common, "p99": p99, "load_behind": late}, Result)


def ceiling_of(pairs):
    mark = {"run": "", "server": "sigbridge", "round": 0}
    found = measurements.ceiling(pairs, mark, "call", first=1000, most=64000, bisections=3, seconds=1)
    return found.kept, found.left


def test_the_ceiling_lies_between_two_rates_that_were_tried():
    assert ceiling_of(PretendedPairs(10300)) == (10000, 11000)
    assert ceiling_of(PretendedPairs(700)) == (625, 750)


def test_one_hiccup_is_no_ceiling():
    assert ceiling_of(PretendedPairs(10300, hiccups=[1, 2, 6])) == (10000, 11000)


def test_where_the_load_is_the_limit_no_rate_was_too_high():
    assert ceiling_of(PretendedPairs(1e9, load=20000)) == (16000, None)
    assert ceiling_of(PretendedPairs(1e9)) == (64000, None)


# Progress.


class Terminal:
    def __init__(self, *, tty):
        self.text = ""
        self.tty = tty

    def isatty(self):
        return self.tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere():
    for tty in (True, False):
        stream = Terminal(tty=tty)
        progress = Progress(4, stream)
        progress.say("first")
        progress.step(1)
        progress.say("second")
        progress.end()
        if tty:
            assert "[######..................]  25%  second" in stream.text
            assert "\n" not in stream.text
        else:
            assert stream.text.split() == ["0%", "0", "s", "first"]

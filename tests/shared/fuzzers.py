"""The fuzzers of tests/fuzz, and with what each begins: inputs that are kept, and words that it may try."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "fuzz"
FUZZERS = sorted(path.stem for path in FOLDER.glob("fuzz_*.py"))


def corpus(fuzzer: str) -> Path:
    """Returns the folder of a fuzzer's kept inputs: a finding has a telling name, all others that of their hash."""
    return FOLDER / "corpus" / fuzzer


def kept_inputs(fuzzer: str) -> list[Path]:
    """Returns the kept inputs of a fuzzer."""
    return sorted(path for path in corpus(fuzzer).iterdir())


def command(fuzzer: str, *options: object) -> list[str]:
    """Returns the command that runs a fuzzer with these options of libFuzzer, and its dictionary where it has one."""
    words = FOLDER / f"{fuzzer}.dict"
    dictionary = [f"-dict={words}"] if words.exists() else []
    return [sys.executable, str(FOLDER / f"{fuzzer}.py"), *dictionary, *map(str, options)]

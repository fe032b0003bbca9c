"""Files that are read again: when, by whom, and what becomes of those that are no good."""

import asyncio
import logging
import os
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sigbridge import SettingError
from sigbridge.auth import ANYBODY
from sigbridge_net.clock import read_clock
from sigbridge_server.reloading import MAX_FILE_BYTES, Reloader
from waiting import TIME_LIMIT_SECONDS, until

OFTEN = 0.005


class Texts:
    """Something that is made of files, and keeps what it was given and on which threads."""

    def __init__(self, *paths):
        self.paths = tuple(map(str, paths))
        self.put_texts = []
        self.read_on = set()
        self.put_on = set()
        self.reads = 0

    def read(self):
        self.reads += 1
        self.read_on.add(threading.current_thread().name)
        texts = []
        for path in self.paths:
            try:
                texts.append(Path(path).read_text())
            except OSError:
                raise SettingError(f"{path}: expected a file") from None
        if "wrong" in texts:
            raise SettingError("expected something else")
        return texts

    def put(self, content, now):
        self.put_on.add(threading.current_thread())
        self.put_texts.append(content)

    def review(self, identity):
        return identity


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "file"
    file.write_text("one")
    return file


@asynccontextmanager
async def watching(*watched, interval_seconds=OFTEN, review=lambda *_: None):
    reloader = Reloader(review, interval_seconds=interval_seconds)
    for one in watched:
        reloader.watch(one, one.review)
    reloader.start()
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            yield reloader
    finally:
        reloader.stop()


async def looked(reloader, times=2):
    for _ in range(times):
        done = asyncio.Event()
        reloader.look_again().then(lambda *_, done=done: done.set())
        await done.wait()


def write_over(file, text):
    """Writes at once, over what is there: a look that comes meanwhile finds no file that is empty."""
    with file.open("r+b", buffering=0) as opened:
        opened.write(text.encode())


def replace(file, text):
    """As editors and Kubernetes do: another file in its place."""
    other = file.with_name("other")
    other.write_text(text)
    other.replace(file)


@pytest.mark.parametrize("how", ["written", "replaced", "a link is swapped", "a folder is swapped"])
async def test_what_has_changed_is_read_in_a_thread_and_taken_on_the_loop(tmp_path, how):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    link = tmp_path / "link"
    link.symlink_to("old/file" if how != "a folder is swapped" else "old")
    path = tmp_path / "old/file" if how in ("written", "replaced") else link
    texts = Texts(path / "file" if how == "a folder is swapped" else path)
    reviewed = []
    async with watching(
        texts, review=lambda judge, now: reviewed.append((judge(ANYBODY), list(texts.put_texts)))
    ) as it:
        await looked(it)
        assert texts.reads == 0
        if how == "written":
            write_over(path, "new")
        elif how == "replaced":
            replace(path, "new")
        else:
            swapped = tmp_path / "swapped"
            swapped.symlink_to("new/file" if how == "a link is swapped" else "new")
            swapped.replace(link)
        await until(lambda: texts.put_texts)
        await looked(it)
    assert texts.put_texts == [["new"]]
    assert reviewed == [(ANYBODY, [["new"]])]
    assert texts.read_on == {"sigbridge-files"}
    assert texts.put_on == {threading.current_thread()}


async def test_what_is_no_good_is_said_once_and_what_there_was_stays(file, caplog):
    texts = Texts(file)
    with caplog.at_level(logging.INFO, "sigbridge.server"):
        async with watching(texts) as it:
            replace(file, "wrong")
            await until(lambda: texts.reads > 3)
            file.unlink()
            await looked(it, 3)
            replace(file, "two")
            await until(lambda: texts.put_texts)
            await looked(it, 3)
    assert texts.put_texts == [["two"]]
    assert [record.getMessage() for record in caplog.records] == [
        "files are not read again: expected something else",
        f"files are not read again: {file}: expected a file",
        "files are read again",
    ]
    assert {record.files for record in caplog.records} == {str(file)}


async def test_files_that_do_not_fit_are_tried_again(tmp_path, caplog):
    """A key is swapped before its certificate, and what keeps them from fitting need be no change of theirs."""
    files = [tmp_path / name for name in ("key", "certificate")]
    for one in files:
        one.write_text("1")

    class Pair(Texts):
        fits = True

        def read(self):
            key, certificate = super().read()
            if key != certificate or not self.fits:
                raise SettingError("they do not fit")
            return key

    pair = Pair(*files)
    async with watching(pair) as it:
        replace(files[0], "2")
        await until(lambda: pair.reads > 2)
        replace(files[1], "2")
        await until(lambda: pair.put_texts == ["2"])
        pair.fits = False
        await until(lambda: it.reload() and "they do not fit" in caplog.text and pair.reads > 9)
        pair.fits = True
        await until(lambda: pair.put_texts[1:] == ["2"])


async def test_a_file_that_changes_while_it_is_read_is_read_again(file):
    class Written(Texts):
        def read(self):
            content = super().read()
            if self.reads == 1:
                replace(file, "whole")
            return content

    written = Written(file)
    async with watching(written) as it:
        replace(file, "half")
        await until(lambda: written.put_texts)
        await looked(it)
    assert written.put_texts == [["whole"]]


async def test_a_file_that_is_emptied_counts_when_the_next_look_finds_it_so_too(file):
    """`make-tokens > tokens` empties it first; what that takes must not end everybody's sessions."""
    texts = Texts(file)
    reloader = Reloader(lambda *_: None)
    reloader.watch(texts)
    (watched,) = reloader._watched

    def look(*, reread=False):
        return [read.content for read in reloader._read_if_changed(watched, reread=reread)]

    file.write_text("")
    assert look() == []
    file.write_text("two")
    assert look() == [["two"]]
    file.write_text("")
    assert look() == []
    assert look() == [[""]]
    assert look() == []
    file.write_text("three")
    assert look() == [["three"]]
    file.write_text("")
    assert look(reread=True) == [[""]]


async def test_all_is_read_at_once_when_that_is_asked_for(file):
    texts, other = Texts(file), Texts(file)
    async with watching(texts, other, interval_seconds=3600) as it:
        done = asyncio.Event()
        it.reload().then(lambda *_: done.set())
        await done.wait()
        assert (texts.put_texts, other.put_texts) == ([["one"]], [["one"]])


async def test_a_look_that_has_begun_before_is_not_the_one_that_was_asked_for(file):
    inside, go_on = threading.Event(), threading.Event()

    class Held(Texts):
        def read(self):
            content = super().read()
            if self.reads == 1:
                inside.set()
                assert go_on.wait(TIME_LIMIT_SECONDS)
            return content

    held = Held(file)
    async with watching(held) as it:
        first = it.reload()
        await until(inside.is_set)
        second = it.look_again()
        there_already = []
        first.then(lambda *_: there_already.append(second.resolved))
        go_on.set()
        await until(lambda: second.resolved)
        assert there_already == [False]


@pytest.mark.parametrize("what", ["pipe", "folder", "device", "large"])
async def test_what_would_be_waited_for_or_is_far_too_large_is_not_opened(tmp_path, what, caplog):
    file = tmp_path / "file"
    file.write_text("one")
    texts, other = Texts(file), Texts(tmp_path / "another")
    async with watching(texts, other) as it:
        odd = tmp_path / "odd"
        if what == "pipe":
            os.mkfifo(odd)
        elif what == "folder":
            odd.mkdir()
        elif what == "device":
            odd.symlink_to("/dev/zero")
        else:
            with odd.open("wb") as large:
                large.truncate(MAX_FILE_BYTES + 1)
        swapped = tmp_path / "swapped"
        swapped.symlink_to(odd)
        swapped.replace(file)
        await looked(it, 3)
        assert (texts.reads, texts.put_texts) == (0, [])
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
        # The thread is there for others, and for this one when it is good again.
        (tmp_path / "another").write_text("two")
        replace(file, "three")
        await until(lambda: texts.put_texts == [["three"]] and other.put_texts == [["two"]])


async def test_what_is_asked_for_again_and_again_is_read_once_more(file):
    inside, go_on = threading.Event(), threading.Event()

    class Held(Texts):
        def read(self):
            inside.set()
            assert go_on.wait(TIME_LIMIT_SECONDS)
            return super().read()

    held = Held(file)
    async with watching(held, interval_seconds=3600) as it:
        it.reload()
        await until(inside.is_set)
        asked = [it.reload() for _ in range(1000)]
        go_on.set()
        await until(lambda: all(one.resolved for one in asked))
    assert held.reads == 2


async def test_who_asks_for_a_look_goes_on_where_the_disk_does_not_answer(file):
    go_on = threading.Event()

    class Hanging(Texts):
        def read(self):
            go_on.wait(TIME_LIMIT_SECONDS)
            return super().read()

    hanging = Hanging(file)
    reloader = Reloader(lambda *_: None, interval_seconds=OFTEN, patience_seconds=OFTEN)
    reloader.watch(hanging)
    reloader.start()
    try:
        whole = reloader.reload()
        await until(lambda: not reloader._orders.qsize())
        for _ in range(3):
            looked_for = reloader.look_again()
            await until(lambda looked_for=looked_for: looked_for.resolved)
        assert not whole.resolved
        assert len(reloader._waiting) == 1
        go_on.set()
        await until(lambda: whole.resolved)
    finally:
        go_on.set()
        reloader.stop()


async def test_a_disk_that_does_not_answer_holds_up_neither_the_loop_nor_a_stop(file):
    go_on = threading.Event()

    class Hanging(Texts):
        def read(self):
            go_on.wait(TIME_LIMIT_SECONDS)
            return super().read()

    hanging = Hanging(file)
    async with watching(hanging) as it:
        asked = it.reload()
        await asyncio.sleep(0)
    assert not asked.resolved
    go_on.set()
    await until(lambda: not any(thread.name == "sigbridge-files" for thread in threading.enumerate()))
    # What it has read then, nobody takes.
    await asyncio.sleep(0)
    assert hanging.put_texts == []


async def test_a_fault_of_one_costs_none_of_the_others(file, caplog):
    class Broken(Texts):
        def read(self):
            if self.paths == (str(file),) and self.reads == 0:
                self.reads += 1
                raise RuntimeError("canary")
            return super().read()

        def put(self, content, now):
            super().put(content, now)
            raise RuntimeError("of putting")

    broken, fine = Broken(file), Texts(file)
    async with watching(broken, fine) as it:
        failing, told = it.look_again(), []
        failing.then(lambda *_: 1 / 0)
        it.look_again().then(lambda *_: told.append("told"))
        replace(file, "two")
        await until(lambda: broken.put_texts and fine.put_texts and told)
    for text in ("reloading files failed", "reloaded files cannot be used", "a client that waited"):
        assert text in caplog.text


async def test_without_files_there_is_no_thread_and_nothing_to_wait_for():
    # Those of other tests may still be ending.
    before = set(threading.enumerate())
    reloader = Reloader(lambda *_: None)
    reloader.start()
    assert reloader.look_again().resolved
    assert reloader.reload().resolved
    assert set(threading.enumerate()) <= before
    reloader.stop()
    assert reloader.look_again().resolved


def test_a_loop_that_is_closed_without_a_stop_ends_the_thread(file):
    async def begin():
        reloader = Reloader(lambda *_: None, interval_seconds=OFTEN)
        reloader.watch(Texts(file))
        reloader.start()

    asyncio.run(begin())
    give_up_at = read_clock().monotonic + TIME_LIMIT_SECONDS
    while any(thread.name == "sigbridge-files" for thread in threading.enumerate()):
        assert read_clock().monotonic < give_up_at


async def test_a_path_that_is_none_is_a_file_that_is_missing(tmp_path):
    texts = Texts(tmp_path / "absent", "nul\0")
    texts.read = lambda: "read"
    async with watching(texts) as it:
        await looked(it)
        (tmp_path / "absent").touch()
        await until(lambda: texts.put_texts == ["read"])


@pytest.mark.parametrize("change", ["time", "size", "inode"])
async def test_each_part_of_what_tells_a_change_does(file, change):
    texts = Texts(file)
    before = file.stat()
    async with watching(texts) as it:
        if change == "time":
            os.utime(file, ns=(0, before.st_mtime_ns + 1))
        elif change == "size":
            write_over(file, "more")
            os.utime(file, ns=(0, before.st_mtime_ns))
        else:
            replace(file, "two")
            os.utime(file, ns=(0, before.st_mtime_ns))
        await until(lambda: texts.put_texts)
        await looked(it)
    assert len(texts.put_texts) in (1, 2)

"""Processes of Python that tests start: each is gone when its block ends."""

import asyncio
import contextlib
import sys

from waiting import TIME_LIMIT_SECONDS


@contextlib.asynccontextmanager
async def python(*arguments, env, stdout=asyncio.subprocess.PIPE, limit_seconds=TIME_LIMIT_SECONDS):
    """Run Python with arguments; the block may take as long as the limit says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_seconds):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def sigbridge(*arguments, **options):
    """Run the command `sigbridge`."""
    return python("-m", "sigbridge_command", *arguments, **options)


async def said_by(process):
    """Exit code, stdout and stderr of a process that ends by itself."""
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()

"""Environments whose `sigbridge` is not ours."""


def environment_with(folder, script):
    """An environment whose `sigbridge` is a script of the shell."""
    program = folder / "bin" / "sigbridge"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder

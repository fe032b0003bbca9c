"""The `sigbridge` command: what its words are and what each of them runs. Nothing imports this package."""

"""The `arrcert` command. It needs the extra `dev`, and the library never imports it."""

from arrcert.cli.commands import main

__all__ = ["main"]

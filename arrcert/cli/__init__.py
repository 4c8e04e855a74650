"""The `arrcert` command, which the library never imports.

It needs click; `arrcert serve` needs the rest of the extra `dev`.
"""

from arrcert.cli.commands import main

__all__ = ["main"]

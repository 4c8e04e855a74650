"""Run the command with `python -m arrcert.cli`."""

from arrcert.cli.commands import main

if __name__ == "__main__":
    main(prog_name="python -m arrcert.cli")

"""``python -m codegen``: the same as the command clgen, for where that is not on the path."""

from codegen.cli import main

main(prog_name="clgen")

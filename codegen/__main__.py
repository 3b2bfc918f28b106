"""The command clgen, also as ``python -m codegen``: handles Ctrl-C before libraries are loaded."""

import os

from codegen import interrupt


def main() -> None:
    try:
        with interrupt.handled():
            from codegen.cli import main as commands

            commands(prog_name="clgen")
    except SystemExit as ended:
        if ended.code == interrupt.EXIT_CODE:
            # Python itself would end by SIGINT if the interrupt came through C code.
            os._exit(interrupt.EXIT_CODE)
        raise


if __name__ == "__main__":
    main()

"""The command clgen, also as ``python -m codegen``: ready for Ctrl-C before its libraries are loaded."""

import os

from codegen import interrupt


def main() -> None:
    try:
        with interrupt.handled():
            from codegen.cli import main as commands

            commands(prog_name="clgen")
    except SystemExit as ended:
        if ended.code == interrupt.EXIT_CODE:
            # Python itself would end by SIGINT where the interrupt has come through code in C.
            os._exit(interrupt.EXIT_CODE)
        raise


if __name__ == "__main__":
    main()

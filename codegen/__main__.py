"""The command clgen, also as ``python -m codegen``: ready for Ctrl-C before its libraries are loaded."""

from codegen import interrupt


def main() -> None:
    with interrupt.handled():
        from codegen.cli import main as commands

        commands(prog_name="clgen")


if __name__ == "__main__":
    main()

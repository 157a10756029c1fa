"""The command ``mnemotomy``, also as ``python -m mnemotomy``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C is one line and status 130 from the first import on."""
    try:
        from mnemotomy.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("mnemotomy: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()

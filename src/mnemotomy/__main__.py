"""The command ``mnemotomy``, also as ``python -m mnemotomy``."""

import os
import sys

SPINS = "1000"
"""How often torch's threads look for work before they sleep. By default libgomp spins for milliseconds, which makes a
forward pass two to three times slower where other work shares the cores; 1,000 is no slower where none does."""


def main() -> None:
    """Run the command line; Ctrl-C is one line and status 130 from the first import on."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read once, as torch is imported
    try:
        from mnemotomy.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("mnemotomy: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()

"""The command ``mnemotomy``, also as ``python -m mnemotomy``."""

import os
import signal
import sys
from typing import Any

SPINS = "1000"
"""How often torch's threads look for work before they sleep. By default libgomp spins for milliseconds, which makes a
forward pass two to three times slower where other work shares the cores; 1,000 is no slower where none does."""


def main() -> None:
    """Run the command line; Ctrl-C and SIGTERM are one line and status 130 from the first import on."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read once, as torch is imported
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop)
    try:
        from mnemotomy.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("mnemotomy: interrupted\n")
        sys.exit(130)


def _stop(*_: Any) -> None:
    """As Ctrl-C, so that what is open is closed and what is kept is named; a second signal ends the process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

"""``python -m mnemotomy``: the same as the command ``mnemotomy``."""

from mnemotomy.cli import main

if __name__ == "__main__":
    main()

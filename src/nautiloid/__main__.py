"""`python -m nautiloid` is the command `nautiloid`."""

import sys

from nautiloid.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

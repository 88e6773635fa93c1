"""`python -m search`: the commands of this package under one name."""

import sys

from search.cli import main

if __name__ == "__main__":
    sys.exit(main())

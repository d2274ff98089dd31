"""`python -m threeloops` is `threeloops`, also for `torchrun -m threeloops`."""

import sys

from flows.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())

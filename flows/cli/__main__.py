"""`python -m flows.cli` is `threeloops`."""

import sys

from flows.cli.parser import main

sys.exit(main())

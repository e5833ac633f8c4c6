"""``python -m headgate.cli``: how the supervisor starts its lanes."""

import sys

from headgate.cli.main import main

sys.exit(main())

"""``python -m headgate.cli``, which is how the supervisor starts the lanes."""

import sys

from headgate.cli.main import main

sys.exit(main())

"""``python -m headgate.cli``, which is how the supervisor starts the lanes."""

import sys
from typing import Any

if sys.argv[1:2] in (["lane"], ["run"]):
    # structlog loads rich where it finds it, for tracebacks that are not used: five MB a process.
    modules: dict[str, Any] = sys.modules
    modules["rich"] = None

from headgate.cli.main import main

sys.exit(main())

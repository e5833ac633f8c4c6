"""``headgate components``: what a gateway can be put together from, and how each is configured."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from headgate.cli.output import note, say
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.core.components import Installed


#: What presets stand under, beside the groups of components.
_PRESETS = "presets"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "components",
        help="list what a gateway is put together from, or print how a part of it is configured",
        description=(
            "Without NAME, list the components that are installed, by group, with where each comes "
            "from, and the presets that feeds can have. With NAME, print its part of "
            "headgate.toml, every key with its default and an explanation; of a preset, all that "
            "it stands for."
        ),
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as value, or formats.value")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.preset import presets
    from headgate.core.components import BUILT_IN, GROUPS, installed

    every = [each for group in GROUPS for each in installed(group).values()]
    if args.name is not None:
        return _explain(args.name, every)
    code = 0
    rows = []
    for each in every:
        try:
            about = each.load().about
        except ConfigError as error:
            # One that is broken must not hide the others.
            note(str(error))
            code, about = 1, "can't be loaded"
        rows.append({"group": each.group, "name": each.name, "from": each.origin, "about": about})
    rows += [
        {"group": _PRESETS, "name": each.name, "from": BUILT_IN, "about": each.about}
        for each in presets().values()
    ]
    if args.json:
        for row in rows:
            say(json.dumps(row, ensure_ascii=False))
        return code
    columns = ("group", "name", "from")
    widths = {key: max(len(row[key]) for row in rows) for key in columns}
    for row in rows:
        say("  ".join([*(row[key].ljust(widths[key]) for key in columns), row["about"]]))
    return code


def _explain(name: str, every: list[Installed]) -> int:
    from headgate.config.preset import presets
    from headgate.core.components import sample

    found = [each for each in every if name in (each.name, f"{each.group}.{each.name}")]
    texts = [
        f"## {each.group}.{each.name} ({each.origin}): {each.load().about}\n{sample(each)}"
        for each in found
    ]
    texts += [
        f'## preset = "{each.name}" stands for\n{each.text}'
        for each in presets().values()
        if name in (each.name, f"{_PRESETS}.{each.name}")
    ]
    if not texts:
        known = [f"{each.group}.{each.name}" for each in every]
        known += [f"{_PRESETS}.{each}" for each in presets()]
        raise ConfigError(f"headgate components: expected one of {', '.join(known)}, got {name}")
    for number, text in enumerate(texts):
        if number:
            say("")
        for line in text.splitlines():
            say(line)
    return 0

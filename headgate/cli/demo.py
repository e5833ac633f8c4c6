"""``headgate demo``: a plant, its faults and the gateway that finds them, on one machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from headgate.cli.numbers import count, positive, rate_hz


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="show a simulated plant with faults, and the gateway finding them",
        description=(
            "Start an MQTT broker on loopback, a fleet of simulated pumps, and a gateway with the "
            "shipped model; break some pumps and show what the gateway finds. Needs no network "
            "and leaves nothing behind. Exits with 1 when a reading is not accounted for."
        ),
    )
    parser.add_argument("--devices", type=count, default=20, metavar="N", help="default: 20")
    parser.add_argument(
        "--rate", type=rate_hz, default=50.0, metavar="HZ", help="of each pump (default: 50)"
    )
    parser.add_argument("--seconds", type=positive, default=60.0, metavar="S", help="default: 60")
    parser.add_argument("--seed", type=count, default=1, metavar="N", help="default: 1")
    parser.add_argument("--faults", choices=("demo", "none"), default="demo", help="default: demo")
    parser.add_argument(
        "--broker",
        choices=("auto", "embedded"),
        default="auto",
        help="auto: mosquitto where it is installed (default)",
    )
    parser.add_argument(
        "--model",
        metavar="KIND",
        help="train a model of this kind on healthy pumps first (default: the shipped model)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep configuration, data and logs there"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object, last on stdout"
    )


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit code."""
    import json
    import signal
    import tempfile

    from rich.console import Console

    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from headgate.demo.config import MIN_RATE_HZ, PUMP_MODEL
    from headgate.demo.run import Options, run_demo
    from headgate.demo.screen import make_screen, summary_table

    if args.rate < MIN_RATE_HZ:
        raise ConfigError(
            f"--rate: expected at least {MIN_RATE_HZ} Hz, which the shipped model needs, "
            f"got {args.rate:g}; leave it out for 50"
        )
    # Whoever asks for JSON reads stdout with a program.
    console = Console(stderr=args.json)
    # The parts are children of this process: a SIGTERM must stop them too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="headgate-demo-") as temporary:
        package = PUMP_MODEL
        if args.model is not None:
            from headgate.demo.model import train_pump_model

            console.print(f"Training a model of kind {args.model} on healthy pumps …")
            package = train_pump_model(args.model, Path(temporary) / "model")
        options = Options(
            package=package,
            folder=_folder(args.keep) if args.keep is not None else Path(temporary),
            devices=args.devices,
            rate_hz=args.rate,
            seconds=args.seconds,
            seed=args.seed,
            has_faults=args.faults == "demo",
            may_use_mosquitto=args.broker == "auto",
        )
        console.print(
            f"Starting a broker, a gateway and {args.devices} pumps at {args.rate:g} Hz …",
            highlight=False,
        )
        report = run_demo(options, SystemClock(), make_screen(console))
    console.print(summary_table(report))
    if args.keep is not None:
        console.print(f"Configuration, data and logs are in {args.keep}.", markup=False)
    if args.json:
        print(json.dumps(report.as_json()), flush=True)
    return 0 if report.balanced else 1


def _folder(path: Path) -> Path:
    from headgate.core.errors import ConfigError

    try:
        path.mkdir(parents=True, exist_ok=True)
        is_empty = not any(path.iterdir())
    except OSError as error:
        raise ConfigError(
            f"--keep: expected a folder, got {path} ({error.strerror}); give another path"
        ) from error
    if not is_empty:
        raise ConfigError(f"--keep: expected an empty folder, got {path}; give a new one")
    return path.absolute()

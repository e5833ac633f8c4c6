"""The broker for machines without mosquitto: amqtt, in a process of its own.

Run as ``python -m headgate.demo.embedded_broker PORT``; ends on SIGTERM. It lets everybody in and
is therefore bound to loopback. It speaks MQTT 3.1.1 only.
"""

from __future__ import annotations

import asyncio
import signal
import sys


async def serve(port: int) -> None:
    """Be a broker on loopback until SIGTERM or SIGINT."""
    from amqtt.broker import Broker  # noqa: PLC0415  (an extra that is not always installed)

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    await broker.start()
    try:
        await stop.wait()
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

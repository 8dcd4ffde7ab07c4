"""CPU a message costs the SMPP client, receipt and acknowledgement included.

The simulated SMSC runs in a process of its own; run as `python benchmarks/submit_rate.py [messages]`.
"""

import asyncio
import multiprocessing
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence

import uvloop

from ghasi.carriers.carrier import Outcome, Receipt, Segment
from ghasi.carriers.configuration import simulator_configuration
from ghasi.carriers.simulator import Behaviour, serve_simulator
from ghasi.carriers.smpp.client import SmppCarrier
from ghasi.messages.segmentation import segment


def simulate(sock: socket.socket) -> None:
    async def run() -> None:
        await serve_simulator(sock=sock, behaviour=Behaviour(receipt_delay_s=0.05))
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()

    uvloop.run(run())


async def measure(port: int, messages: int) -> None:
    received = 0
    done = asyncio.Event()
    carrier = SmppCarrier(simulator_configuration("127.0.0.1", port, window=200))

    def on_receipts(receipts: Sequence[Receipt]) -> None:
        nonlocal received
        carrier.acknowledge(receipts, accepted=True)
        received += len(receipts)
        if received >= messages:
            done.set()

    await carrier.start(on_receipts)
    while not carrier.capacity():
        await asyncio.sleep(0.01)
    payload = segment("Your code is 123456. It is valid for ten minutes.").parts[0]
    submitted = accepted = 0
    begun, begun_cpu = time.perf_counter(), time.process_time()
    waiting: set[asyncio.Future] = set()
    while submitted < messages or waiting:
        for _ in range(min(carrier.capacity(), messages - submitted)):
            submitted += 1
            waiting.add(carrier.submit(Segment(f"+93701{submitted % 90000 + 10000:05d}9", "Ghasi", "gsm7", payload)))
        ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        accepted += sum(1 for result in ended if result.result().outcome is Outcome.ACCEPTED)
    async with asyncio.timeout(10):
        await done.wait()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    await carrier.stop()
    print(f"{accepted} messages with receipts in {seconds:.2f} s: {accepted / seconds:.0f}/s,")
    print(f"{cpu / accepted * 1e6:.1f} us of CPU a message in the client's process (this loop included)")


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    sock = socket.create_server(("127.0.0.1", 0))
    child = multiprocessing.get_context("fork").Process(target=simulate, args=(sock,), daemon=True)
    child.start()
    uvloop.run(measure(sock.getsockname()[1], messages))
    child.terminate()
    child.join()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{(spent.ru_utime + spent.ru_stime) / messages * 1e6:.1f} us in the simulator's, its start included")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The log relay side by side: gatehouse, syslog-ng and rsyslog, in one run on one machine.

Absolute times on a shared machine drift; CPU time of the receiver per message, against a peer in the same run, does not.
Every receiver has CPU 0; the load has CPU 1. Rounds are interleaved, medians are shown. Every trial counts lines: a receiver
that wrote one too few or one too many ends the run.
Called by `bench/run logrelay`, which installs what is needed and builds the binary.
"""
import argparse
import dataclasses
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import lines  # noqa: E402
import relays  # noqa: E402
from measure import LOAD_CPU, SERVER_CPU, percentiles  # noqa: E402
from report import Table, Verdicts, machine, say  # noqa: E402

UDP_RATE, IDLE, PACED = 100_000, 10_000, 50_000
MEMORY, DURABLE = "gatehouse, memory", "gatehouse, durable"


@dataclasses.dataclass
class Case:
    name: str
    kind: str = "rfc3164"
    framing: str = "lines"
    transport: str = "tcp"
    connections: int = 4
    hosts: int = 1
    tls: bool = False
    relp: bool = False
    rate: int = 0
    more: str = ""
    also: tuple = ()
    # Whose cost is the limit, and how much of it.
    against: str = "syslog-ng"
    limits: dict = dataclasses.field(default_factory=lambda: {MEMORY: 1.0})


CASES = [
    Case("TCP", limits={MEMORY: 0.5, DURABLE: 1.0}),
    Case("RFC 5424", kind="rfc5424"),
    Case("TLS", tls=True),
    Case("RELP", framing="none", relp=True, against="rsyslog"),
    Case("100 connections", connections=100),
    Case("256 files", hosts=256),
    Case("UDP", transport="udp", connections=1, rate=UDP_RATE),
]


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run logrelay", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="length of each load (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all receivers (default 5)")
    parser.add_argument("--quick", action="store_true", help="short: 2 seconds, 3 rounds, half a minute with a dead destination")
    parser.add_argument("--case", action="append", help="only this case; may be repeated: " + ", ".join([case.name for case in CASES] + ["idle connections", "dead destination"]))
    parser.add_argument("--binary", help="gatehouse to measure; set by bench/run")
    parser.add_argument("--syslog-ng", required=True, help="folder into which syslog-ng is unpacked; set by bench/run")
    parser.add_argument("--peers-only", action="store_true", help="without gatehouse")
    args = parser.parse_args()
    args.dead_s = 600
    if args.quick:
        args.seconds, args.rounds, args.dead_s = min(args.seconds, 2), min(args.rounds, 3), 30
    return args


def trial(server, case, seconds):
    """One load: CPU microseconds per message and messages a second. Every line must be there, once."""
    counter = server.counter
    before, used, stop = counter.count(), server.cpu_seconds(), time.time() + seconds
    framing = "none" if case.relp else case.framing
    parts = [lines.blocks(case.kind, framing, c, case.hosts) for c in range(case.connections)]
    if case.relp:
        parts = [[part.rstrip(b"\n") for part in of] for of in parts]
    if case.transport == "udp":
        senders = [lines.Datagrams(server.port, [part.rstrip(b"\n") for part in parts[0]], stop, case.rate)]
    else:
        senders = [lines.Sender(server.port, part, stop, case.tls, case.relp) for part in parts]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
        if sender.failed:
            server.check()
            raise SystemExit(f"{server.name}, {case.name}: {sender.failed!r}")
    sent, deadline, quiet = sum(sender.sent for sender in senders), time.time() + 60, time.time()
    wrote = counter.count() - before
    while wrote < sent and time.time() < deadline:
        time.sleep(0.05)
        now = counter.count() - before
        # Datagrams that the kernel dropped never come.
        if now != wrote:
            wrote, quiet = now, time.time()
        elif case.transport == "udp" and time.time() - quiet > 3:
            break
    cost = (server.cpu_seconds() - used) * 1e6 / sent
    lost = sent - wrote
    if lost < 0 or (lost and case.transport != "udp"):
        server.check()
        raise SystemExit(f"{server.name}, {case.name}: {sent} lines were sent and {wrote} written")
    return {"us": cost, "per_s": sent / seconds, "lost": lost, "sent": sent}


def side_by_side(args, case, contenders, out, verdicts):
    tls = out / "tls"
    servers = []
    try:
        for name, command in contenders:
            if name == "sink" and (case.tls or case.relp or case.transport == "udp" or case.hosts > 1):
                continue
            if name == "syslog-ng" and case.relp:
                continue
            server = relays.start(name, command, case, out, tls, args.syslog_ng, {SERVER_CPU})
            server.counter = lines.Counter(server.folder / "out")
            servers.append(server)
        figures = {server.name: [] for server in servers}
        for number in range(args.rounds):
            # Alternating order: whoever comes later in a round meets a warmer or more tired machine.
            for server in servers if number % 2 == 0 else reversed(servers):
                result = trial(server, case, args.seconds)
                figures[server.name].append(result)
                say(f"{case.name}, round {number + 1}: {server.name} {result['us']:.2f} us, {result['per_s']:,.0f}/s, {result['lost']} lost")
                for path in (server.folder / "out").rglob("*.log"):
                    os.truncate(path, 0)
                server.counter.seen.clear()
        memory = {server.name: server.memory_mb() for server in servers}
    finally:
        for server in servers:
            server.stop(patience=10)
        shutil.rmtree(out / case.name.replace(" ", "-").replace(",", ""), ignore_errors=True)
    table = Table(case.name, "CPU us per message", "messages/s", "lost", "memory MB", f"ratio to {case.against}")
    for name, runs in figures.items():
        us, rate = (statistics.median(run[key] for run in runs) for key in ("us", "per_s"))
        lost = sum(run["lost"] for run in runs)
        ratio = statistics.median(a["us"] / b["us"] for a, b in zip(runs, figures[case.against], strict=True))
        table.add(name, f"{us:.2f}", f"{rate:,.0f}", lost, f"{memory[name]:.0f}", f"{ratio:.2f}")
        if name in case.limits:
            verdicts.check(f"{case.name}: {name}, CPU per message, ratio to {case.against}", ratio, case.limits[name], "")
        if name.startswith("gatehouse") and case.transport == "udp":
            verdicts.check(f"{case.name}: {name}, datagrams lost of {sum(run['sent'] for run in runs):,}", lost, 0, "")
    table.print()


def idle_connections(args, out, extra, verdicts):
    say(f"{IDLE:,} idle connections")
    for kind in (resource.RLIMIT_NOFILE,):
        resource.setrlimit(kind, (max(resource.getrlimit(kind)[1], IDLE + 1000),) * 2)
    server = relays.start(MEMORY, relays.gatehouse(args.binary, False), Case("idle"), out, out / "tls", args.syslog_ng, {SERVER_CPU})
    try:
        before, held = server.memory_mb(), []
        for number in range(IDLE):
            # More addresses than one have ports enough.
            connection = socket.socket()
            connection.bind((f"127.0.1.{1 + number % 100}", 0))
            connection.connect(("127.0.0.1", server.port))
            # Each has sent a line, so each has been read from.
            connection.sendall(lines.line("rfc3164", "prod-web00001", number) + b"\n")
            held.append(connection)
        counter, deadline = lines.Counter(server.folder / "out"), time.time() + 60
        while counter.count() < IDLE:
            server.check()
            if time.time() > deadline:
                raise SystemExit(f"only {counter.count()} of {IDLE} lines of idle connections came")
            time.sleep(0.1)
        time.sleep(2)
        after = server.memory_mb()
    finally:
        server.stop(patience=10)
    extra.add(f"memory before and with {IDLE:,} idle TCP connections", f"{before:.0f} / {after:.0f} MB")
    verdicts.check(f"memory with {IDLE:,} idle TCP connections", after, 100, "MB")


class Follower(threading.Thread):
    """Reads a file as it grows; how long after its time each marked line came."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.delays, self.lines, self.over = path, [], 0, threading.Event()

    def run(self):
        rest = b""
        while not self.path.exists() and not self.over.is_set():
            time.sleep(0.01)
        with open(self.path, "rb") as file:
            while not self.over.is_set():
                data = file.read(1 << 20)
                if not data:
                    time.sleep(0.002)
                    continue
                now = time.time()
                whole, newline, rest = (rest + data).rpartition(b"\n")
                if not newline:
                    continue
                for text in whole.split(b"\n"):
                    self.lines += 1
                    at = text.find(b"at=")
                    if at >= 0:
                        self.delays.append((now - float(text[at + 3:at + 20])) * 1000)


def paced(port, seconds, rate):
    """Sends so many lines a second; the first of each burst says when it was sent. Returns the number sent."""
    connection, begin, sent = socket.create_connection(("127.0.0.1", port)), time.time(), 0
    burst = rate // 200
    plain = b"".join(part for part in (lines.blocks("rfc3164", "lines", 0, 1) * (1 + burst // lines.BATCH))[:burst - 1])
    while time.time() - begin < seconds:
        connection.sendall(f"<38>{lines.STAMP_3164} prod-web00000 sshd[1]: at={time.time():017.6f}\n".encode() + plain)
        sent += burst
        time.sleep(max(0, begin + sent / rate - time.time()))
    connection.close()
    return sent


def dead_destination(args, out, extra, verdicts):
    """The delay to a file with and without a second destination that is dead, at a fixed rate."""
    figures = {}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        more = f'[[logrelay.destination]]\nname = "dead"\nsyslog = "tcp://127.0.0.1:{nobody.getsockname()[1]}"\n[logrelay.spool]\nmax_bytes = 1073741824\n'
        for durable, word in ((False, "memory"), (True, "durable")):
            for dead in (False, True):
                what = f"{word}, {'one dead destination' if dead else 'all well'}"
                seconds = args.dead_s if dead else min(30, args.dead_s)
                say(f"{seconds} s at {PACED:,} messages a second: {what}")
                case = Case(what, more=more if dead else "", also=("dead",) if dead else ())
                server = relays.start("gatehouse", relays.gatehouse(args.binary, durable), case, out, out / "tls", args.syslog_ng, {SERVER_CPU})
                follower = Follower(server.folder / "out/out.log")
                follower.start()
                try:
                    sent = paced(server.port, 5, PACED)
                    early = server.memory_mb()
                    sent += paced(server.port, seconds, PACED)
                    deadline = time.time() + 30
                    while follower.lines < sent and time.time() < deadline:
                        time.sleep(0.1)
                    late = server.memory_mb()
                finally:
                    follower.over.set()
                    server.stop(patience=10)
                    shutil.rmtree(server.folder, ignore_errors=True)
                if follower.lines != sent:
                    raise SystemExit(f"{what}: {sent} lines were sent and {follower.lines} written")
                figures[word, dead] = (*percentiles(follower.delays), early, late)
            well, ill = figures[word, False], figures[word, True]
            extra.add(f"delay to a file, {word}: all well / one destination dead for {args.dead_s} s",
                      f"p50 {well[0]:.1f} / {ill[0]:.1f} ms, p99 {well[1]:.1f} / {ill[1]:.1f} ms")
            extra.add(f"memory, {word}: after 5 s / at the end, one destination dead", f"{ill[2]:.0f} / {ill[3]:.0f} MB")
            # 2 ms is how often the file is looked at.
            verdicts.check(f"p99 delay with a dead destination, {word}", ill[1], well[1] * 1.25 + 2, "ms")
            verdicts.check(f"growth of memory with a dead destination, {word}", ill[3] - ill[2], 32, "MB")


# Without a peer.
ALONE = {"idle connections": idle_connections, "dead destination": dead_destination}


def main():
    args = arguments()
    print(f"{machine()}; {args.rounds} rounds of {args.seconds:g} s\n", flush=True)
    out = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-bench-"))
    extra, verdicts = Table("gatehouse", "measured"), Verdicts()
    os.sched_setaffinity(0, {LOAD_CPU})
    contenders = [("sink", relays.sink), ("syslog-ng", relays.syslog_ng), ("rsyslog", relays.rsyslog)]
    if not args.peers_only:
        contenders += [(MEMORY, relays.gatehouse(args.binary, False)), (DURABLE, relays.gatehouse(args.binary, True))]
    try:
        (out / "tls").mkdir()
        relays.certificate(out / "tls")
        for case in CASES:
            if not args.case or case.name in args.case:
                side_by_side(args, case, contenders, out, verdicts)
        if args.peers_only:
            return
        for name, measure in ALONE.items():
            if not args.case or name in args.case:
                measure(args, out, extra, verdicts)
        if extra.rows[2:]:
            extra.print()
    finally:
        if verdicts.table.rows[2:]:
            verdicts.table.print()
        shutil.rmtree(out, ignore_errors=True)
    sys.exit(1 if verdicts.failed else 0)


if __name__ == "__main__":
    main()

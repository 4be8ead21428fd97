#!/usr/bin/env python3
"""The directory side by side: gatehouse and slapd (mdb, indexed), in one run on one machine.

Absolute times on a shared machine drift; CPU time of the server per search, against a peer in the same run, does not.
Every server has CPU 0; the load has CPU 1. Rounds are interleaved, medians are shown.
Called by `bench/run directory`, which installs what is needed and builds the binary.
"""
import argparse
import os
import pathlib
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import directories  # noqa: E402
import instance  # noqa: E402
import ldap  # noqa: E402
from contenders import compile_c  # noqa: E402
from measure import LOAD_CPU, SERVER_CPU, percentiles  # noqa: E402
from people import BASE, HOST, ZONE, People, dn, uid  # noqa: E402
from process import Server  # noqa: E402
from report import Table, Verdicts, machine, say  # noqa: E402

PASSWD = ["uid", "uidNumber", "gidNumber", "cn", "gecos", "homeDirectory", "loginShell", "objectClass"]
LOADS = ["uid", "group", "ssh"]
# Depth, whether each search is in words that were never sent before, name, and what the ratio to slapd may be.
KINDS = [
    (50, False, "50 outstanding", 1 / 8),
    (1, False, "one at a time", 1 / 3),
    (1, True, "one at a time, each for the first time", None),
]
# With 4,762 groups and the top of the tree, 100,005 entries.
REFRESH_PEOPLE, REFRESH_BEFORE = 95_240, 1_000
READ_EVERY_S = 0.005
# Of a search for a uid and its answer.
REQUEST_OCTETS, REPLY_OCTETS = 172, 280


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run directory", description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=20_000, help="size of the directory (default 20000)")
    parser.add_argument("--seconds", type=float, default=5, help="length of each load (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over both servers (default 5)")
    parser.add_argument("--quick", action="store_true", help="short: 2 seconds, 3 rounds, fewer samples")
    parser.add_argument("--binary", help="gatehouse to measure; set by bench/run")
    parser.add_argument("--peers-only", action="store_true", help="without gatehouse: only slapd")
    args = parser.parse_args()
    if args.quick:
        args.seconds, args.rounds = min(args.seconds, 2), min(args.rounds, 3)
    args.samples = 60 if args.quick else 200
    return args


def one_search(load, people, i):
    """A search of a kind for one of the people: filter, attributes, and how many entries must come."""
    if load == "group":
        wanted = ldap.both(ldap.equals("objectClass", "posixGroup"), ldap.equals("memberUid", uid(i)))
        return wanted, ["cn", "gidNumber"], people.groups_of[i]
    wanted = ldap.both(ldap.equals("objectClass", "posixAccount"), ldap.equals("uid", uid(i)))
    return wanted, ["sshPublicKey"] if load == "ssh" else PASSWD, 1


def prepare(server, people):
    """A connection for each load and depth, with all its searches verified."""
    loads = {}
    for load in LOADS:
        for depth in {depth for depth, *_ in KINDS}:
            count = 200 if depth > 1 else min(2000, people.count)
            numbers = random.Random(f"{load} {depth}").sample(range(people.count), min(count * depth, people.count))
            batches = [[one_search(load, people, i) for i in numbers[at:at + depth]] for at in range(0, len(numbers), depth)]
            loads[load, depth] = ldap.Load(server.port, batches, BASE)
    return loads


def kept_share(before, after):
    """The share of searches that were answered from a kept answer, if the server tells it."""
    if not before or not after:
        return None
    searches, kept = (later - earlier for later, earlier in zip(after, before, strict=True))
    return kept / searches


def side_by_side(args, servers, people):
    """Runs all loads on all servers in turn; figures by server, load and kind."""
    prepared = {server.name: prepare(server, people) for server in servers}
    figures = {}
    for number in range(args.rounds):
        for load in LOADS:
            for depth, is_new, words, _ in KINDS:
                for server in servers:
                    if depth == 1 and not is_new:
                        # Noted the first time, kept the second.
                        prepared[server.name][load, depth].repeat(2)
                    before = directories.counted_searches(server)
                    result = prepared[server.name][load, depth].run(args.seconds, server.cpu_seconds, is_new)
                    server.check()
                    result["kept"] = kept_share(before, directories.counted_searches(server))
                    figures.setdefault((server.name, load, words), []).append(result)
                    say(f"round {number + 1}: {server.name} {load}, {words}: {result['us']:.2f} us/search, {result['per_s']:.0f}/s")
    return figures


def report_searches(figures, servers, people, verdicts):
    table = Table(f"{people.count:,} people, CPU us per search", *(server.name for server in servers), "searches/s", "from a kept answer",
                  "ratio to slapd")
    for load in LOADS:
        for _, _, words, limit in KINDS:
            runs = [figures[server.name, load, words] for server in servers]
            us = [f"{statistics.median(run['us'] for run in of):.2f}" for of in runs]
            rates = " / ".join(f"{statistics.median(run['per_s'] for run in of):,.0f}" for of in runs)
            ratio = statistics.median(a["us"] / b["us"] for a, b in zip(runs[-1], runs[0], strict=True))
            shares = [run["kept"] for run in runs[-1] if run["kept"] is not None]
            table.add(f"{load}, {words}", *us, rates, f"{statistics.median(shares):.0%}" if shares else "", f"{ratio:.3f}")
            if len(servers) > 1 and limit:
                verdicts.check(f"CPU per search, {load}, {words}, ratio to slapd", ratio, limit, "")
    table.print()


def floor(args, out, extra, running):
    """What a bare reply costs, one at a time: the kernel's part of every such search, and so the least that any server needs."""
    port = directories.free_port()
    server = Server("reply", [compile_c("reply", out), str(port), str(REPLY_OCTETS)], out / "log-reply", port, {SERVER_CPU})
    running.append(server)
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), 10)
            break
        except OSError:
            server.check()
            if time.monotonic() > deadline:
                raise
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request, buffer, costs = bytes(REQUEST_OCTETS), bytearray(1 << 16), []
    for _ in range(args.rounds):
        begin, used, replies = time.monotonic(), server.cpu_seconds(), 0
        while time.monotonic() - begin < args.seconds:
            connection.sendall(request)
            got = 0
            while got < REPLY_OCTETS:
                got += connection.recv_into(buffer)
            replies += 1
        costs.append((server.cpu_seconds() - used) * 1e6 / replies)
    server.stop()
    extra.add(f"the kernel's floor: a bare reply of {REPLY_OCTETS} octets, one at a time", f"{statistics.median(costs):.2f} us")


def denials(slapd, gatehouse, samples):
    """Milliseconds from the request that takes a person's hosts away in slapd until gatehouse denies that person."""
    upstream = ldap.Connection(slapd.port, dn=directories.ADMIN, password=directories.SECRET)
    asked = ldap.Connection(gatehouse.port)
    wanted = ldap.equals("gatehouseAccess", f"{HOST}.{ZONE}")

    def admitted(i):
        return len(asked.search(dn(i), ldap.BASE_OBJECT, wanted, ["1.1"])) == 1

    def wait_for(i, state):
        deadline = time.perf_counter() + 60
        while admitted(i) != state:
            if time.perf_counter() > deadline:
                raise SystemExit(f"{uid(i)} is {'not ' if state else 'still '}admitted after 60 s")

    out = []
    for i in range(samples):
        upstream.modify(dn(i), "host", ["*"])
        wait_for(i, True)
        begin = time.perf_counter()
        upstream.modify(dn(i), "host", [])
        wait_for(i, False)
        out.append((time.perf_counter() - begin) * 1000)
    return percentiles(out)


class Reader(threading.Thread):
    """Reads one entry over and over; every read must bring it."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.connection, self.over = ldap.Connection(port, 5), threading.Event()
        self.slowest_ms, self.reads, self.missed = 0.0, 0, 0

    def run(self):
        while not self.over.wait(READ_EVERY_S):
            begin = time.perf_counter()
            found = self.connection.search(BASE, ldap.SUBTREE, ldap.equals("uid", uid(0)), PASSWD)
            self.slowest_ms = max(self.slowest_ms, (time.perf_counter() - begin) * 1000)
            self.reads += 1
            self.missed += len(found) != 1


def refresh(args, out, extra, verdicts, running):
    """A node that knew 1,000 people starts, while its upstream now has 100,000 entries."""
    say("a refresh of 100,000 entries")
    people = People(REFRESH_PEOPLE)
    people.write(out / "before.ldif", REFRESH_BEFORE)
    people.write(out / "after.ldif")
    upstream, port = directories.free_port(), directories.free_port()
    folder = out / "refresh-slapd"
    folder.mkdir()
    directories.load_slapd(folder, out / "before.ldif")
    slapd = directories.start_slapd(folder, upstream, REFRESH_BEFORE - 1)
    running.append(slapd)
    config = directories.gatehouse_config(out / "refresh", port, directories.from_slapd(upstream))
    node = directories.start_gatehouse(args.binary, config, port)
    running.append(node)
    directories.wait_until("the first content", lambda: directories.has_person(port, REFRESH_BEFORE - 1), node)
    node.stop()
    slapd.stop()
    directories.load_slapd(folder, out / "after.ldif")
    running.append(directories.start_slapd(folder, upstream, REFRESH_PEOPLE - 1))

    begin = time.monotonic()
    node = directories.start_gatehouse(args.binary, config, port, log="log-refresh")
    running.append(node)
    served = directories.wait_until("the old content", lambda: directories.has_person(port, 0), node, pause=0.002) - begin
    reader = Reader(port)
    reader.start()
    seconds = directories.wait_until("the new content", lambda: directories.has_person(port, REFRESH_PEOPLE - 1), node, pause=0.05) - begin
    reader.over.set()
    reader.join(10)
    if reader.is_alive() or not reader.reads:
        raise SystemExit("reads stopped during the refresh")
    extra.add(f"refresh from {REFRESH_BEFORE:,} people to {people.entries():,} entries, start included", f"{seconds:.1f} s")
    extra.add("first read after that start / slowest of the reads meanwhile",
              f"{served * 1000:.0f} ms / {reader.slowest_ms:.1f} ms of {reader.reads:,}")
    extra.add(f"memory after it, {people.entries():,} entries", f"{node.memory_mb():.0f} MB")
    verdicts.check("refresh of 100,000 entries", seconds, 20, "s")
    verdicts.check("reads without an answer meanwhile", reader.missed, 0, "")
    node.stop()


def keys(args, people, out, extra, verdicts, running):
    say(f"{args.samples} times gatehouse keys")
    folder = out / "instance"
    folder.mkdir()
    instance.certificates(folder)
    # Everybody may come in on the host that asks.
    people.write(folder / "people.ldif", admitted=True)
    port, tls = directories.free_port(), directories.free_port()
    more = f"""listen_tls = ["127.0.0.1:{tls}"]
tls_cert = "{folder}/server.pem"
tls_key = "{folder}/server.key"
client_ca = "{folder}/ca.pem"
"""
    source = directories.from_file(folder / "people.ldif")
    node = directories.start_gatehouse(args.binary, directories.gatehouse_config(out / "keys", port, source, more), port)
    running.append(node)
    directories.wait_until("gatehouse to answer", lambda: directories.has_person(port, args.people - 1), node)
    os.sched_setaffinity(0, directories.BOTH_CPUS)
    hole = instance.BlackHole()
    for what, ports, limit in (("appliance on loopback", [tls], 10), ("first appliance black-holed", [hole.port, tls], 300)):
        p50, p99 = percentiles(instance.keys_ms(args.binary, folder, ports, args.samples, people.count))
        extra.add(f"`gatehouse keys USER`, {what}", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        verdicts.check(f"`gatehouse keys USER`, {what}, p99", p99, limit, "ms")
    ldap.pinned(LOAD_CPU)
    node.stop()


def followed(args, slapd, out, extra, verdicts, running):
    say(f"{args.samples} times a change in slapd to a denial")
    port = directories.free_port()
    config = directories.gatehouse_config(out / "follower", port, directories.from_slapd(slapd.port))
    node = directories.start_gatehouse(args.binary, config, port, {SERVER_CPU})
    running.append(node)
    directories.wait_until("the content of slapd", lambda: directories.has_person(port, args.people - 1), node)
    p50, p99 = denials(slapd, node, args.samples)
    extra.add("a change in slapd to a denied decision", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    extra.add(f"memory of the node that follows slapd, {args.people:,} people", f"{node.memory_mb():.0f} MB")
    verdicts.check("a change in slapd to a denied decision, p99", p99, 1000, "ms")
    node.stop()


def main():
    args = arguments()
    print(f"{machine()}; {args.rounds} rounds of {args.seconds:g} s\n", flush=True)
    out = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-bench-"))
    running, extra, verdicts = [], Table("gatehouse", "measured"), Verdicts()
    ldap.pinned(LOAD_CPU)
    try:
        people = People(args.people)
        people.write(out / "people.ldif")
        (out / "slapd").mkdir()
        directories.load_slapd(out / "slapd", out / "people.ldif")
        servers = [directories.start_slapd(out / "slapd", directories.free_port(), args.people - 1, {SERVER_CPU})]
        running += servers
        if not args.peers_only:
            port = directories.free_port()
            config = directories.gatehouse_config(out / "gatehouse", port, directories.from_file(out / "people.ldif"))
            servers.append(directories.start_gatehouse(args.binary, config, port, {SERVER_CPU}))
            running.append(servers[-1])
            directories.wait_until("gatehouse to answer", lambda: directories.has_person(port, args.people - 1), servers[-1])
        figures = side_by_side(args, servers, people)
        report_searches(figures, servers, people, verdicts)
        floor(args, out, extra, running)
        say(", ".join(f"{server.name} {server.memory_mb():.0f} MB" for server in servers))
        extra.add(f"memory, {args.people:,} people: " + " / ".join(server.name for server in servers),
                  " / ".join(f"{server.memory_mb():.0f}" for server in servers) + " MB")
        if args.peers_only:
            return
        verdicts.check(f"memory, {args.people:,} people", servers[-1].memory_mb(), 150, "MB")
        servers[-1].stop()
        keys(args, people, out, extra, verdicts, running)
        followed(args, servers[0], out, extra, verdicts, running)
        refresh(args, out, extra, verdicts, running)
        extra.print()
        verdicts.table.print()
    finally:
        for server in running:
            server.stop(patience=10)
        shutil.rmtree(out, ignore_errors=True)
    sys.exit(1 if verdicts.failed else 0)


if __name__ == "__main__":
    main()

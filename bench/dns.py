#!/usr/bin/env python3
"""DNS side by side: gatehouse, NSD, Knot, BIND and a bare kernel echo, in one run on one machine.

Absolute times on a shared machine drift; CPU time of the server per question, against a peer in the same run, does
not. Every server has CPU 0 for itself and one worker; the load has CPU 1. Rounds are interleaved, medians are shown.
Called by `bench/run dns`, which installs what is needed and builds the binary.
"""
import argparse
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import contenders  # noqa: E402
import measure  # noqa: E402
import world  # noqa: E402
from report import Table, Verdicts, machine, say  # noqa: E402

PEERS = ["NSD", "Knot", "BIND"]
LOADS = {"mixed": "mixed.txt", "NXDOMAIN": "nxdomain.txt"}
MILLION = 1_000_000


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run dns", description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=100_000, help="size of the world (default 100000)")
    parser.add_argument("--seconds", type=int, default=10, help="length of each load (default 10)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all servers (default 5)")
    parser.add_argument("--quick", action="store_true", help="short: 3 seconds, 3 rounds, fewer samples")
    parser.add_argument("--full", action="store_true", help="also with 1,000,000 hosts (needs 8 GB of memory, some minutes)")
    parser.add_argument("--binary", help="gatehouse to measure; set by bench/run")
    parser.add_argument("--peers-only", action="store_true", help="without gatehouse: only the peers and the floor")
    args = parser.parse_args()
    if args.quick:
        args.seconds, args.rounds = min(args.seconds, 3), min(args.rounds, 3)
    args.samples = 300 if args.quick else 1000
    return args


def side_by_side(args, servers, folder):
    """Runs all loads on all servers in turn; medians by server and load."""
    figures = {}
    for round_number in range(args.rounds):
        for load_name, file in LOADS.items():
            for server in servers:
                if server.name == "echo" and load_name != "mixed":
                    continue
                result = measure.load(server, folder / file, args.seconds)
                figures.setdefault((server.name, load_name), []).append(result)
                say(f"round {round_number + 1}: {server.name} {load_name}: {result['us']:.2f} us/query, {result['qps']:.0f}/s, {result['codes']}")
    return figures


def median(figures, name, load_name, what):
    return statistics.median(run[what] for run in figures[(name, load_name)])


def ratio(figures, ours, theirs):
    """Median over the rounds of CPU per query of one (server, load) to another of the same round."""
    return statistics.median(a["us"] / b["us"] for a, b in zip(figures[ours], figures[theirs], strict=True))


def print_side_by_side(args, figures, memory):
    names = [name for name in ["gatehouse", *PEERS, "echo"] if (name, "mixed") in figures]
    ratios = [f"ratio to {peer}" for peer in PEERS]
    for load_name in LOADS:
        table = Table(f"{args.hosts:,} hosts, {load_name}", "server CPU us per query", "queries/s", "lost", "memory MB", *ratios)
        for name in names:
            if (name, load_name) not in figures:
                continue
            us, qps, lost = (median(figures, name, load_name, what) for what in ("us", "qps", "lost"))
            against = [f"{ratio(figures, (name, load_name), (peer, load_name)):.2f}" for peer in PEERS]
            table.add(name, f"{us:.2f}", f"{qps:,.0f}", f"{lost:.0f}", f"{memory[name]:.0f}", *against)
        table.print()


def gatehouse_rows(args, hosts, folder, out, count, table, verdicts):
    """First load, start from the store, change to answer, memory; leaves the server running and returns it."""
    size = f"{count:,} hosts"
    say(f"gatehouse: first load of {size}")
    server, first_load = contenders.start_gatehouse(args.binary, out, hosts, folder / "inventory", {0, 1})
    imported_mb = server.memory_mb()
    server.stop()
    starts = []
    for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        server, seconds = contenders.start_gatehouse(args.binary, out, hosts, None, {0, 1}, "log-store")
        starts.append(seconds)
        if len(starts) < 3:
            server.stop(how)
    start_s = statistics.median(starts)
    say(f"gatehouse: {args.samples} times host add to answer")
    p50, p99 = measure.add_to_answer(out / "control.sock", server.port, args.samples, f"added{count}-")
    memory_mb = max(imported_mb, server.memory_mb())
    table.add(f"{size}: first load of the files to first answer", f"{first_load:.2f} s")
    table.add(f"{size}: start to first answer from the store", f"{start_s * 1000:.0f} ms (of {', '.join(f'{s * 1000:.0f}' for s in starts)})")
    table.add(f"{size}: `host add` to the answer over UDP", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    table.add(f"{size}: memory after loading the files / after a start and {args.samples} changes", f"{imported_mb:.0f} / {server.memory_mb():.0f} MB")
    if count == MILLION:
        verdicts.check(f"memory, {size}", memory_mb, 1600, "MB")
    elif count == 100_000:
        verdicts.check(f"memory, {size}", memory_mb, 200, "MB")
        verdicts.check(f"start to first answer from the store, {size}", start_s, 1, "s")
        verdicts.check(f"`host add` to the answer, p99, {size}", p99, 20, "ms")
    return server, p99


def main():
    args = arguments()
    print(f"{machine()}; {args.rounds} rounds of {args.seconds} s\n", flush=True)
    out = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-bench-"))
    running, extra, verdicts = [], Table("gatehouse", "measured"), Verdicts()
    try:
        hosts = world.write(args.hosts, out / "world")
        for name in ["echo", *PEERS]:
            say(f"starting {name}")
            running.append(contenders.start(name, out, out / "world", hosts, {measure.SERVER_CPU}))
        if not args.peers_only:
            server, add_p99 = gatehouse_rows(args, hosts, out / "world", out / "gatehouse", args.hosts, extra, verdicts)
            running.append(server)
            server.pin({measure.SERVER_CPU})
        figures = side_by_side(args, running, out / "world")
        memory = {server.name: server.memory_mb() for server in running}
        print_side_by_side(args, figures, memory)
        if args.peers_only:
            return
        for load_name in LOADS:
            verdicts.check(f"CPU per query, {load_name}, ratio to NSD", ratio(figures, ("gatehouse", load_name), ("NSD", load_name)), 1, "")
        verdicts.check("CPU per query, ratio of NXDOMAIN to the mixed load", ratio(figures, ("gatehouse", "NXDOMAIN"), ("gatehouse", "mixed")), 1, "")
        for peer in running[:-1]:
            peer.stop()
        under_changes(args, running[-1], out, extra, verdicts)
        running[-1].stop()
        if args.full:
            million(args, out, add_p99, extra, verdicts, running)
        extra.print()
        verdicts.table.print()
    finally:
        for server in running:
            server.stop(patience=10)
        shutil.rmtree(out, ignore_errors=True)
    sys.exit(1 if verdicts.failed else 0)


def under_changes(args, server, out, extra, verdicts):
    say("latency while changes are published")
    pace = contenders.compile_c("pace", out)
    got = measure.latency_under_changes(
        pace, server, out / "gatehouse/control.sock", out / "world/mixed.txt", 5000, args.seconds, 100, args.rounds)
    extra.add("p99 query latency at 5,000 queries/s: idle / while changes are published",
              f"{got['idle']:.0f} / {got['busy']:.0f} us ({got['changes_a_second']:.0f} changes/s, {got['lost']} lost)")
    verdicts.check("p99 query latency while 100 changes a second are published", got["busy"], 1.5 * got["idle"], "us")
    # A server that cannot take the changes must not pass by taking few.
    verdicts.check("changes a second short of 100 meanwhile", max(0, 100 - got["changes_a_second"]), 5, "")
    verdicts.check("questions lost meanwhile", got["lost"], 0, "")


def million(args, out, add_p99, extra, verdicts, running):
    shutil.rmtree(out / "world")
    hosts = world.write(MILLION, out / "world")
    server, p99 = gatehouse_rows(args, hosts, out / "world", out / "million", MILLION, extra, verdicts)
    running.append(server)
    verdicts.check("`host add` to the answer, p99, 1,000,000 hosts against 100,000", p99, 2 * add_p99, "ms")


if __name__ == "__main__":
    main()

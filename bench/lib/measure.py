"""What is measured, one function each."""
import json
import os
import re
import socket
import statistics
import subprocess
import threading
import time

from ask import Client, encode
from control import Control

SERVER_CPU, LOAD_CPU = 0, 1


def load(server, questions, seconds):
    """dnsperf against a server: CPU microseconds of the server per answered question, and questions a second."""
    before = server.cpu_seconds()
    command = ["taskset", "-c", str(LOAD_CPU), "dnsperf", "-s", "127.0.0.1", "-p", str(server.port), "-d", str(questions),
               "-l", str(seconds), "-c", "8", "-q", "200"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = server.cpu_seconds() - before
    server.check()
    found = {key: int(re.search(rf"Queries {key}:\s+(\d+)", text)[1]) for key in ("sent", "completed", "lost")}
    if not found["completed"]:
        raise SystemExit(f"{server.name} answered nothing:\n{text}")
    codes = dict(re.findall(r"(\w+) (\d+) \(", re.search(r"Response codes:(.*)", text)[1]))
    return {"us": used * 1e6 / found["completed"], "qps": found["completed"] / seconds, "lost": found["lost"], "codes": codes}


def percentiles(samples):
    """p50 and p99 of a list, in its unit."""
    ordered = sorted(samples)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def add_to_answer(control_path, port, samples, prefix):
    """Milliseconds from the request `host add` until a question over UDP gets the address."""
    control, client, out = Control(control_path), Client(port), []
    for i in range(samples):
        # Outside the world's addresses and names.
        ip = f"10.{200 + i // 62500}.{i // 250 % 250}.{1 + i % 250}"
        name, data = f"{prefix}{i:05d}", socket.inet_aton(ip)
        query = encode(f"{name}.us-east-1a.acme.private")
        begin = time.perf_counter()
        control.add_host(name, "us-east-1a", ip, wait=False)
        while not client.has_answer(query, data):
            if time.perf_counter() - begin > 60:
                raise SystemExit(f"{name} was added and is not answered: {control.receive()!r}")
        out.append((time.perf_counter() - begin) * 1000)
        control.receive()
    return percentiles(out)


class Changes(threading.Thread):
    """Makes changes at a fixed rate until it is stopped, on the server's CPU: the load's CPU is the clock."""

    def __init__(self, control_path, rate, number):
        super().__init__()
        self.control, self.rate, self.number = Control(control_path), rate, number
        self.made, self.stop_now = 0, threading.Event()

    def run(self):
        os.sched_setaffinity(0, {SERVER_CPU})
        begin = time.monotonic()
        while not self.stop_now.is_set():
            i = self.made
            # Each run of changes has a second octet of its own, or its addresses would be taken.
            address = f"10.{230 + self.number}.{i // 250 % 250}.{1 + i % 250}"
            self.control.add_host(f"busy{self.number}-{i:05d}", "us-west-1a", address)
            self.made += 1
            # An absolute schedule: a slow change is caught up with.
            time.sleep(max(0, begin + self.made / self.rate - time.monotonic()))


def paced(binary, port, questions, rate, seconds):
    """Latency percentiles at a fixed rate of questions; see pace.c."""
    command = ["taskset", "-c", str(LOAD_CPU), str(binary), str(port), str(rate), str(seconds), str(questions)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def latency_under_changes(binary, server, control_path, questions, rate, seconds, changes_a_second, rounds):
    """Median over interleaved rounds of p99 idle and p99 while changes are published, in microseconds."""
    idle, busy, made = [], [], 0
    for i in range(rounds):
        idle.append(paced(binary, server.port, questions, rate, seconds))
        changes = Changes(control_path, changes_a_second, i)
        changes.start()
        busy.append(paced(binary, server.port, questions, rate, seconds))
        changes.stop_now.set()
        changes.join()
        made += changes.made
    middle = {key: statistics.median(run["p99_us"] for run in runs) for key, runs in (("idle", idle), ("busy", busy))}
    return {**middle, "changes_a_second": made / (seconds * rounds), "lost": sum(run["lost"] for run in idle + busy)}

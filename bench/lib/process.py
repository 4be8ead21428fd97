"""Servers as processes: start, pin, CPU time, memory, end."""
import os
import pathlib
import signal
import subprocess
import sys

TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A server and its children. Its output goes to a log beside its data; it is ended by process id."""

    def __init__(self, name, command, log, port=None, cpus=None):
        self.name, self.port, self.log = name, port, pathlib.Path(log)
        # Where it tells what it has counted, if it does.
        self.metrics = None
        # Before it starts: servers count their processors to decide how many threads they run.
        begin = None if cpus is None else lambda: os.sched_setaffinity(0, cpus)
        with open(log, "a") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=begin)

    def pids(self):
        """The process and all that it started."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                    parents.setdefault(int(fields[1]), []).append(int(entry))
                except OSError:
                    continue
        found, todo = [], [self.child.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += parents.get(pid, [])
        return found

    def pin(self, cpus):
        """Confines all threads to these CPUs; threads and children started later inherit it."""
        for pid in self.pids():
            for thread in os.listdir(f"/proc/{pid}/task"):
                try:
                    os.sched_setaffinity(int(thread), cpus)
                except ProcessLookupError:
                    continue

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def memory_mb(self):
        """Resident memory; what several of the processes share counts once (proportional set size)."""
        kb = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kb += int(line.split()[1])
        return kb / 1024

    def check(self):
        if self.child.poll() is not None:
            tail = self.log.read_text().splitlines()[-20:]
            sys.exit(f"{self.name} has ended with status {self.child.returncode}:\n" + "\n".join(tail))

    def stop(self, how=signal.SIGTERM, patience=60):
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

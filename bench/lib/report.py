"""What a run prints: progress to standard error, tables and verdicts as markdown."""
import pathlib
import platform
import sys


def say(text):
    print(text, file=sys.stderr, flush=True)


class Table:
    """A markdown table that is printed when it is complete."""

    def __init__(self, *header):
        self.rows = [header, ["---"] * len(header)]

    def add(self, *cells):
        self.rows.append(cells)

    def print(self):
        for row in self.rows:
            print("| " + " | ".join(str(cell) for cell in row) + " |")
        print()


class Verdicts:
    """What must hold, and whether it does."""

    def __init__(self):
        self.table, self.failed = Table("what", "measured", "must be", "verdict"), 0

    def check(self, what, value, limit, unit):
        good = value <= limit
        self.failed += not good
        self.table.add(what, f"{value:.2f} {unit}".strip(), f"at most {limit:.2f} {unit}".strip(), "PASS" if good else "**FAIL**")


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine())
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return f"{model}, {info.count('processor')} CPUs, {memory:.0f} GB, Linux {platform.release()}"

"""One synthetic world of N hosts, in the form that each server loads, and the questions to ask about it.

The numbers are the same in every run and on every machine: the generator starts from a fixed seed, and the order in
which it is asked must not change, or figures of different runs compare no more.
"""
import pathlib
import random

SEED = 7
REGIONS = ["us-east-1", "us-west-1", "eu-west-1", "ap-southeast-1", "ap-northeast-1"]
ROLES = ["web", "mysql", "hadoop", "cache", "lb", "java", "kafka", "mc"]
QUESTIONS = 200_000
SOA = "@ 60 IN SOA ns1.acme.private. hostmaster.acme.private. 1 3600 600 604800 30\n@ 60 IN NS ns1.acme.private.\n"


def reverse_name(ip):
    return ".".join(reversed(ip.split("."))) + ".in-addr.arpa"


def write(count, folder):
    """Writes hosts.toml, two zone files and two lists of questions; returns the list of (name, zone, address)."""
    folder = pathlib.Path(folder)
    (folder / "inventory").mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    hosts = []
    for i in range(count):
        region = rng.choice(REGIONS)
        zone, role = region + rng.choice("abc"), rng.choice(ROLES)
        hosts.append((f"prod-{role}{i:05d}", zone, role, f"10.{(i >> 16) & 255}.{(i >> 8) & 255}.{i & 255}"))

    with open(folder / "inventory/hosts.toml", "w") as toml:
        for name, zone, role, ip in hosts:
            toml.write(f'[[host]]\nname = "{name}"\nzone = "{zone}"\nprivate_ip = "{ip}"\nroles = ["{role}"]\n\n')
    with open(folder / "acme.private.zone", "w") as forward, open(folder / "10.rev.zone", "w") as reverse:
        forward.write(f"$ORIGIN acme.private.\n{SOA}ns1 60 IN A 10.255.0.2\n")
        reverse.write(f"$ORIGIN 10.in-addr.arpa.\n{SOA}")
        for name, zone, _, ip in hosts:
            _, b, c, d = ip.split(".")
            forward.write(f"{name}.{zone} 60 IN A {ip}\n")
            reverse.write(f"{d}.{c}.{b} 60 IN PTR {name}.{zone}.acme.private.\n")
    with open(folder / "mixed.txt", "w") as mixed, open(folder / "nxdomain.txt", "w") as nxdomain:
        for _ in range(QUESTIONS):
            name, zone, _, ip = rng.choice(hosts)
            kind = rng.random()
            if kind < 0.8:
                mixed.write(f"{name}.{zone}.acme.private A\n")
            elif kind < 0.9:
                mixed.write(f"{reverse_name(ip)} PTR\n")
            else:
                mixed.write(f"nope{rng.randrange(10**9)}.us-east-1a.acme.private A\n")
            nxdomain.write(f"{rng.randrange(10**12):x}.us-east-1a.acme.private A\n")
    return [(name, zone, ip) for name, zone, _, ip in hosts]

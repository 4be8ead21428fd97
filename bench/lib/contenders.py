"""How each server is configured and started for the world of `world.py`."""
import pathlib
import socket
import subprocess
import time

from ask import Client
from process import Server
from world import reverse_name

NAMES = ["echo", "NSD", "Knot", "BIND", "gatehouse", "gatehouse HTTP"]
ZONES = [("acme.private", "acme.private.zone"), ("10.in-addr.arpa", "10.rev.zone")]
HERE = pathlib.Path(__file__).resolve().parent


def free_ports():
    """A port for each server, free for UDP and TCP, below those that the kernel gives to clients."""
    found, port = {}, 15300
    for name in NAMES:
        while True:
            port += 1
            with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
                try:
                    udp.bind(("127.0.0.1", port))
                    tcp.bind(("127.0.0.1", port))
                except OSError:
                    continue
            found[name] = port
            break
    return found


PORTS = free_ports()


def compile_c(name, out):
    """Builds one of the C programs beside this file."""
    binary = pathlib.Path(out) / name
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", binary, HERE / f"{name}.c"], check=True)
    return binary


def echo(out, _world):
    return [compile_c("echo", out), str(PORTS["echo"])]


def nsd(out, world):
    zones = "".join(f"zone:\n  name: {name}\n  zonefile: {file}\n" for name, file in ZONES)
    (out / "nsd.conf").write_text(f"""server:
  ip-address: 127.0.0.1@{PORTS['NSD']}
  server-count: 1
  username: ""
  zonesdir: {world}
  pidfile: {out}/pid
  xfrdfile: {out}/xfrd
  zonelistfile: {out}/zones
  database: ""
  rrl-ratelimit: 0
  do-ip6: no
remote-control:
  control-enable: no
{zones}""")
    return ["nsd", "-d", "-c", out / "nsd.conf"]


def knot(out, world):
    zones = "".join(f"  - domain: {name}\n    file: {file}\n" for name, file in ZONES)
    (out / "knot.conf").write_text(f"""server:
  listen: 127.0.0.1@{PORTS['Knot']}
  udp-workers: 1
  rundir: {out}
database:
  storage: {out}
template:
  - id: default
    storage: {world}
    zonefile-sync: -1
    journal-content: none
zone:
{zones}""")
    return ["knotd", "-c", out / "knot.conf"]


def bind(out, world):
    zones = "".join(f'zone "{name}" {{ type primary; file "{world}/{file}"; }};\n' for name, file in ZONES)
    (out / "named.conf").write_text(f"""options {{
  directory "{out}"; pid-file "{out}/pid"; session-keyfile "{out}/session";
  listen-on port {PORTS['BIND']} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; notify no; minimal-responses yes; empty-zones-enable no;
}};
controls {{ }};
{zones}""")
    return ["named", "-n", "1", "-f", "-c", out / "named.conf"]


def gatehouse_config(out, inventory):
    """One worker for UDP, as the peers have; inventory from a folder of files, or none for a start from the store."""
    path = f'path = "{inventory}"\n' if inventory else ""
    config = out / "gatehouse.toml"
    config.write_text(f"""[node]
name = "bench"
region = "us-east-1"
data_dir = "{out}/data"
[inventory]
product = "acme"
{path}[dns]
listen = ["127.0.0.1:{PORTS['gatehouse']}"]
udp_workers = 1
[admin]
listen = "127.0.0.1:{PORTS['gatehouse HTTP']}"
socket = "{out}/control.sock"
""")
    return config


COMMANDS = {"echo": echo, "NSD": nsd, "Knot": knot, "BIND": bind}


def start(name, out, world, hosts, cpus):
    """Starts a peer or the echo and waits until it answers for the last host of the world, forward and reverse."""
    out = pathlib.Path(out) / name
    out.mkdir(parents=True, exist_ok=True)
    server = Server(name, [str(word) for word in COMMANDS[name](out, world)], out / "log", PORTS[name], cpus)
    if name != "echo":
        host, zone, ip = hosts[-1]
        client = Client(PORTS[name])
        client.wait_for_answer(f"{host}.{zone}.acme.private", check=server.check, pause=0.05)
        client.wait_for_answer(reverse_name(ip), qtype=12, check=server.check, pause=0.05)
        server.pin(cpus)
    return server


def start_gatehouse(binary, out, hosts, inventory=None, cpus=None, log="log"):
    """Starts gatehouse; returns it and the seconds from its start to its first answer."""
    out.mkdir(parents=True, exist_ok=True)
    config = gatehouse_config(out, inventory)
    host, zone, ip = hosts[-1]
    started = time.monotonic()
    server = Server("gatehouse", [binary, "serve", "--config", str(config)], out / log, PORTS["gatehouse"], cpus)
    client = Client(PORTS["gatehouse"])
    answered = client.wait_for_answer(f"{host}.{zone}.acme.private", check=server.check)
    client.wait_for_answer(reverse_name(ip), qtype=12, check=server.check)
    return server, answered - started

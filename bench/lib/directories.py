"""How slapd and gatehouse are configured and started for the directory of `people.py`."""
import pathlib
import shutil
import socket
import subprocess
import time
import tomllib
import urllib.request

from ldap import SUBTREE, Connection, Refused, equals
from measure import LOAD_CPU, SERVER_CPU
from people import BASE, HOST, ZONE, uid
from process import Server

ADMIN, SECRET = f"cn=admin,{BASE}", "secret"


BOTH_CPUS = {SERVER_CPU, LOAD_CPU}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, probe, server, patience=600, pause=0.01):
    """Polls until `probe` is true; returns the time of it (monotonic seconds)."""
    deadline = time.monotonic() + patience
    while True:
        server.check()
        try:
            if probe():
                return time.monotonic()
        except (OSError, Refused):  # nobody listens yet, or there is no content yet
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {patience} s for {what}")
        time.sleep(pause)


def has_person(port, i):
    return len(Connection(port, 10).search(BASE, SUBTREE, equals("uid", uid(i)), ["uid"])) == 1


def slapd_config(out):
    config = out / "slapd.conf"
    config.write_text(f"""include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY MAY ( sshPublicKey $ uid ) )
objectclass ( 1.3.6.1.4.1.5322.17.1.1 NAME 'hostObject' SUP top AUXILIARY MAY host )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
pidfile {out}/pid
threads 2
sizelimit unlimited
database mdb
maxsize 4294967296
suffix "{BASE}"
rootdn "{ADMIN}"
rootpw {SECRET}
directory {out}/db
index objectClass,uid,uidNumber,gidNumber,cn,memberUid,entryUUID,entryCSN eq
overlay syncprov
syncprov-checkpoint 100 10
syncprov-sessionlog 10000
""")
    return config


def load_slapd(out, ldif):
    """Fills the database anew; the server must not run."""
    shutil.rmtree(out / "db", ignore_errors=True)
    (out / "db").mkdir(parents=True)
    config = slapd_config(out)
    subprocess.run(["slapadd", "-q", "-w", "-f", config, "-l", ldif], check=True, capture_output=True)


def start_slapd(out, port, last, cpus=BOTH_CPUS):
    """Starts slapd and waits until it knows person `last`."""
    command = ["slapd", "-f", str(out / "slapd.conf"), "-h", f"ldap://127.0.0.1:{port}/", "-d", "0"]
    server = Server("slapd", command, out / "log", port, cpus)
    wait_until("slapd to answer", lambda: has_person(port, last), server)
    return server


def gatehouse_config(out, port, source, more=""):
    """`source` is the lines of [directory] that say where entries come from."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "inventory").mkdir(exist_ok=True)
    (out / "inventory/hosts.toml").write_text(f'[[host]]\nname = "{HOST}"\nzone = "{ZONE}"\nprivate_ip = "10.0.0.1"\n')
    config = out / "gatehouse.toml"
    config.write_text(f"""[node]
name = "bench"
region = "us-east-1"
data_dir = "{out}/data"
[inventory]
product = "acme"
path = "{out}/inventory"
[directory]
listen = ["127.0.0.1:{port}"]
base = "{BASE}"
allow_anonymous = ["127.0.0.0/8"]
{more}{source}
[admin]
listen = "127.0.0.1:{free_port()}"
socket = "{out}/control.sock"
""")
    return config


def counted_searches(server):
    """How many searches gatehouse has answered, and how many of them from a kept answer; nothing if that is not told."""
    if not server.metrics:
        return None
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.metrics, timeout=10) as response:
        lines = response.read().decode().splitlines()
    events = dict(line.rsplit(" ", 1) for line in lines if line.startswith("gatehouse_ldap_events_total"))
    counts = [events.get(f'gatehouse_ldap_events_total{{event="{event}"}}') for event in ("searches", "repeated")]
    return None if None in counts else [float(count) for count in counts]


def from_file(ldif):
    return f'ldif = "{ldif}"\n'


def from_slapd(port):
    return f'[directory.upstream]\nurls = ["ldap://127.0.0.1:{port}"]\nstarttls = false\nbase = "{BASE}"\n'


def start_gatehouse(binary, config, port, cpus=BOTH_CPUS, log="log"):
    server = Server("gatehouse", [str(binary), "serve", "--config", str(config)], config.parent / log, port, cpus)
    server.metrics = f"http://{tomllib.loads(config.read_text())['admin']['listen']}/metrics"
    return server

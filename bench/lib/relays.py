"""How each relay is configured and started for a case."""
import os
import pathlib
import socket
import subprocess
import time

from process import Server
from contenders import compile_c

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    """Free for UDP and TCP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def certificate(folder):
    """A certificate for 127.0.0.1 that signs itself."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)


def syslog_ng(case, folder, port, tls, unpacked):
    """Every receiver keeps the names in headers, waits rather than drops, and writes its default format."""
    kind = "syslog" if case.framing == "octets" and case.kind == "rfc5424" else "network"
    flags = 'flags(syslog-protocol)' if case.kind == "rfc5424" and kind == "network" else ""
    secure = f'tls(key-file("{tls}/key.pem") cert-file("{tls}/cert.pem") peer-verify(optional-untrusted))' if case.tls else ""
    transport = "tls" if case.tls else case.transport
    window = max(1000, 100 * case.connections)
    path = "${HOST}.log" if case.hosts > 1 else "out.log"
    (folder / "syslog-ng.conf").write_text(f"""@version: 3.38
options {{ keep-hostname(yes); use-dns(no); stats-freq(0); create-dirs(yes); chain-hostnames(no); }};
source s {{ {kind}(ip("127.0.0.1") port({port}) transport("{transport}") max-connections({max(20, case.connections * 2)})
  log-iw-size({window * 10}) so-rcvbuf(8388608) {flags} {secure}); }};
destination d {{ file("{folder}/out/{path}"); }};
log {{ source(s); destination(d); flags(flow-control); }};
""")
    lib, gnu = f"{unpacked}/usr/lib", f"{os.uname().machine}-linux-gnu"
    environment = {"LD_LIBRARY_PATH": f"{lib}/{gnu}:{lib}/syslog-ng:{unpacked}/lib/{gnu}"}
    command = [f"{unpacked}/usr/sbin/syslog-ng", "-F", "--no-caps", f"--module-path={lib}/syslog-ng/3.38", "-f", folder / "syslog-ng.conf",
               "-R", folder / "persist", "-p", folder / "pid", "-c", folder / "ctl"]
    return ["env", *(f"{key}={value}" for key, value in environment.items()), *command]


def rsyslog(case, folder, port, tls, _unpacked):
    path = '%HOSTNAME%.log' if case.hosts > 1 else "out.log"
    if case.relp:
        source = f'module(load="imrelp") input(type="imrelp" address="127.0.0.1" port="{port}" maxDataSize="64k")'
    elif case.transport == "udp":
        source = f'module(load="imudp") input(type="imudp" address="127.0.0.1" port="{port}" rcvbufSize="8m")'
    else:
        driver = f"""global(defaultNetstreamDriverCAFile="{tls}/cert.pem" defaultNetstreamDriverCertFile="{tls}/cert.pem"
  defaultNetstreamDriverKeyFile="{tls}/key.pem")
""" if case.tls else ""
        secure = 'streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon"' if case.tls else ""
        source = f'{driver}module(load="imtcp" maxSessions="1000" {secure}) input(type="imtcp" address="127.0.0.1" port="{port}")'
    (folder / "rsyslog.conf").write_text(f"""global(workDirectory="{folder}" maxMessageSize="64k")
{source}
template(name="path" type="string" string="{folder}/out/{path}")
action(type="omfile" dynaFile="path" template="RSYSLOG_TraditionalFileFormat" dynaFileCacheSize="512" createDirs="on" ioBufferSize="64k" flushOnTXEnd="on" asyncWriting="off")
""")
    return ["/usr/sbin/rsyslogd", "-n", "-f", folder / "rsyslog.conf", "-i", folder / "pid"]


def sink(_case, folder, port, _tls, _unpacked):
    (folder / "out").mkdir()
    return [compile_c("sink", folder), str(port), folder / "out/out.log"]


def gatehouse(binary, durable):
    def command(case, folder, port, tls, _unpacked):
        scheme = "relp" if case.relp else "tls" if case.tls else case.transport
        path = "${HOST}.log" if case.hosts > 1 else "out.log"
        certificates = f'tls_cert = "{tls}/cert.pem"\ntls_key = "{tls}/key.pem"\n' if case.tls else ""
        (folder / "gatehouse.toml").write_text(f"""[node]
name = "bench"
region = "us-east-1"
data_dir = "{folder}/data"
[[logrelay.source]]
name = "net"
listen = ["{scheme}://127.0.0.1:{port}"]
connections_per_address = 20000
{certificates}[[logrelay.destination]]
name = "files"
file = "{folder}/out/{path}"
open_files = 512
{case.more}
[[logrelay.route]]
to = [{", ".join(f'"{name}"' for name in ("files", *case.also))}]
durable = {str(durable).lower()}
[admin]
socket = "{folder}/control.sock"
""")
        return [binary, "serve", "--config", folder / "gatehouse.toml"]
    return command


def start(name, command, case, out, tls, unpacked, cpus):
    """Starts a relay and waits until it listens."""
    folder = out / case.name.replace(" ", "-").replace(",", "") / name.replace(" ", "-").replace(",", "")
    folder.mkdir(parents=True)
    port = free_port()
    words = [str(word) for word in command(case, folder, port, tls, unpacked)]
    server = Server(name, words, folder / "log", port, cpus)
    server.folder = folder
    deadline = time.monotonic() + 30
    while True:
        server.check()
        if case.transport == "udp":
            found = f":{port:04X} " in pathlib.Path("/proc/net/udp").read_text()
        else:
            found = f":{port:04X} 00000000:0000 0A" in pathlib.Path("/proc/net/tcp").read_text()
        if found:
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} does not listen on port {port}:\n{(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.02)
    server.pin(cpus)
    return server

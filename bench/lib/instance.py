"""An instance that asks for keys: certificates, its configuration, and an address that answers nobody."""
import json
import shutil
import socket
import subprocess
import time

from people import HOST, ZONE, uid


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificates(folder):
    """Writes ca.pem, and server and host certificates with their keys."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(folder, "req", "-x509", *new, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench authority")
    for name, names in (("server", "IP:127.0.0.1"), ("host", f"DNS:{HOST}.{ZONE}.acme.private")):
        (folder / f"{name}.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl(folder, "req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


class BlackHole:
    """An address at which handshakes get no answer: the queue of a socket that nobody accepts from is full."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.stuffing = []
        while True:
            try:
                self.stuffing.append(socket.create_connection(("127.0.0.1", self.port), 0.3))
            except TimeoutError:
                return


def keys_ms(binary, folder, ports, samples, count):
    """Milliseconds of `gatehouse keys USER` for different people, from the start of the process to its end.

    Every run starts without kept answers: those remember which appliance answered last.
    """
    answers = folder / "answers"
    config = folder / "client.toml"
    appliances = [f"127.0.0.1:{port}" for port in ports]
    config.write_text(f'appliances = {json.dumps(appliances)}\nca = "ca.pem"\ncert = "host.pem"\nkey = "host.key"\ncache_dir = "answers"\n')
    out = []
    for i in range(samples):
        shutil.rmtree(answers, ignore_errors=True)
        answers.mkdir()
        user = uid(i % count)
        begin = time.perf_counter()
        done = subprocess.run([binary, "keys", user, "--config", config], capture_output=True, close_fds=False)
        out.append((time.perf_counter() - begin) * 1000)
        if done.returncode or not done.stdout.startswith(b"ssh-ed25519 "):
            raise SystemExit(f"no keys for {user}: {done}")
    return out

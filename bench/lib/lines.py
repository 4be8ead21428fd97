"""Lines of syslog, and clients that send them over each transport as fast as they are taken."""
import os
import socket
import ssl
import threading
import time

SIZE, BATCH = 300, 200
STAMP_3164, STAMP_5424 = "Nov 20 17:05:05", "2026-11-20T17:05:05.123456+00:00"


def line(kind, host, number):
    """One line of SIZE octets, without its end."""
    if kind == "rfc5424":
        head = f"<38>1 {STAMP_5424} {host} sshd 1234 ID47 - seq {number} "
    else:
        head = f"<38>{STAMP_3164} {host} sshd[1234]: seq {number} "
    return (head + "x" * (SIZE - 1 - len(head))).encode()


def blocks(kind, framing, connection, hosts):
    """The bytes of BATCH lines. Each line names one of so many hosts."""
    out = []
    for i in range(BATCH):
        text = line(kind, f"prod-web{(connection * 37 + i) % hosts:05d}", f"{connection}-{i}")
        out.append(b"%d %s" % (len(text), text) if framing == "octets" else text + b"\n")
    return out


class Sender(threading.Thread):
    """One connection, from now until `stop`; `sent` counts lines that were handed over."""

    def __init__(self, port, parts, stop, tls=False, relp=False, rate=None):
        super().__init__(daemon=True)
        self.port, self.parts, self.stop, self.tls, self.relp, self.rate = port, parts, stop, tls, relp, rate
        self.sent, self.failed = 0, None

    def run(self):
        try:
            self.send()
        except Exception as error:  # noqa: BLE001 (shown by whoever joins)
            self.failed = error

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), 30)
        if not self.tls:
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain)

    def send(self):
        connection = self.connect()
        if self.relp:
            return self.send_relp(connection)
        data = b"".join(self.parts)
        begin = time.time()
        while (now := time.time()) < self.stop:
            if self.rate and self.sent > (now - begin) * self.rate:
                time.sleep(0.001)
                continue
            connection.sendall(data)
            self.sent += len(self.parts)
        try:
            if not self.tls:
                connection.shutdown(socket.SHUT_WR)
            else:
                # Some close without saying goodbye; the lines are counted all the same.
                connection = connection.unwrap()
            connection.settimeout(30)
            while connection.recv(4096):
                pass
        except OSError:
            pass

    def send_relp(self, connection):
        offer = b"relp_version=0\nrelp_software=bench\ncommands=syslog"
        connection.sendall(b"1 open %d %s\n" % (len(offer), offer))
        txnr, acked, rest = 1, 0, b""

        def read():
            nonlocal acked, rest
            data = connection.recv(1 << 16)
            if not data:
                raise ConnectionError("the receiver has closed the connection")
            # A response ends in a newline; the one to `open` has some inside, but none before a number and " rsp ".
            rest += data
            done, _, rest = rest.rpartition(b"\n")
            acked += done.count(b" rsp ")

        while acked < 1:
            read()
        while time.time() < self.stop:
            frames = []
            for part in self.parts:
                txnr += 1
                frames.append(b"%d syslog %d %s\n" % (txnr, len(part), part))
            connection.sendall(b"".join(frames))
            self.sent += len(frames)
            while txnr - acked > 2 * BATCH:
                read()
        while acked < txnr:
            read()
        connection.sendall(b"%d close 0\n" % (txnr + 1))


class Datagrams(threading.Thread):
    """Sends datagrams at a fixed rate."""

    def __init__(self, port, parts, stop, rate):
        super().__init__(daemon=True)
        self.port, self.parts, self.stop, self.rate = port, parts, stop, rate
        self.sent, self.failed = 0, None

    def run(self):
        out = socket.socket(type=socket.SOCK_DGRAM)
        out.connect(("127.0.0.1", self.port))
        begin = time.time()
        while (now := time.time()) < self.stop:
            if self.sent > (now - begin) * self.rate:
                continue
            for part in self.parts[:20]:
                try:
                    out.send(part)
                    self.sent += 1
                except ConnectionRefusedError as error:
                    self.failed = error
                    return


class Counter:
    """Counts the lines of files below a folder, reading only what is new."""

    def __init__(self, folder):
        self.folder, self.seen = folder, {}

    def count(self):
        for path, _, names in os.walk(self.folder):
            for name in names:
                file = os.path.join(path, name)
                offset, lines = self.seen.get(file, (0, 0))
                with open(file, "rb") as f:
                    f.seek(offset)
                    while chunk := f.read(1 << 20):
                        lines += chunk.count(b"\n")
                        offset += len(chunk)
                self.seen[file] = (offset, lines)
        return sum(lines for _, lines in self.seen.values())

"""A DNS client that is just enough to see when a name has an address."""
import socket
import struct
import time


def encode(name, qtype=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", qtype, 1)


class Client:
    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(0.2)

    def has_answer(self, query, data=None):
        """Whether the reply has a record in its answer section (that ends in `data`, if given)."""
        try:
            self.socket.send(query)
            reply = self.socket.recv(4096)
        except OSError:  # nobody listens yet, or no reply in time
            return False
        return reply[6:8] != b"\0\0" and (data is None or data in reply)

    def wait_for_answer(self, name, data=None, qtype=1, patience=600, check=lambda: None, pause=0.0002):
        """Polls until the name has an answer; returns the time of it (monotonic seconds)."""
        query, deadline = encode(name, qtype), time.monotonic() + patience
        while not self.has_answer(query, data):
            check()
            if time.monotonic() > deadline:
                raise SystemExit(f"no answer for {name} within {patience} s")
            if pause:
                time.sleep(pause)
        return time.monotonic()

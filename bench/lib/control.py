"""Changes over the control socket, as the command line makes them: HTTP on a unix socket."""
import json
import socket


class Control:
    """One kept connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.rest = b""

    def send(self, method, path, body=None):
        """Sends a request without waiting for the response."""
        text = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        self.socket.sendall(head.encode() + text)

    def receive(self):
        """Reads the response to the oldest request; ends the run when it is not a success."""
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        if not head.split(b" ")[1].startswith(b"2"):
            raise SystemExit(f"refused: {head.splitlines()[0].decode()} {body.decode()}")
        return body

    def more(self):
        chunk = self.socket.recv(65536)
        if not chunk:
            raise SystemExit("the control socket was closed")
        self.rest += chunk

    def add_host(self, name, zone, ip, wait=True):
        self.send("POST", "/v1/hosts", {"name": name, "zone": zone, "private_ip": ip, "roles": ["bench"]})
        if wait:
            self.receive()

"""An LDAP client that is just enough: simple bind, search, modify, and searches that are under way together."""
import os
import socket
import time

ENTRY, SEARCH_DONE, MODIFY_DONE, BIND_DONE = 0x64, 0x65, 0x67, 0x61
BASE_OBJECT, SUBTREE = 0, 2


def length(n):
    if n < 0x80:
        return bytes([n])
    text = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(text)]) + text


def tlv(tag, value):
    return bytes([tag]) + length(len(value)) + value


def octets(text):
    return tlv(0x04, text.encode())


def equals(attribute, value):
    return tlv(0xA3, octets(attribute) + octets(value))


def both(*filters):
    return tlv(0xA0, b"".join(filters))


def message(number, operation):
    # A leading zero octet keeps the number positive.
    return tlv(0x30, tlv(0x02, number.to_bytes(4, "big")) + operation)


def search(number, base, scope, wanted, attributes):
    limits = b"\x0a\x01" + bytes([scope]) + b"\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00"
    return message(number, tlv(0x63, octets(base) + limits + wanted + tlv(0x30, b"".join(map(octets, attributes)))))


def modify(number, dn, attribute, values):
    """Replaces the values of an attribute; none: the attribute goes."""
    change = tlv(0x30, octets(attribute) + tlv(0x31, b"".join(map(octets, values))))
    return message(number, tlv(0x66, octets(dn) + tlv(0x30, tlv(0x30, b"\x0a\x01\x02" + change))))


def element(data, at):
    """The tag at `at`, and where its value begins and ends; None if it is not complete."""
    if len(data) < at + 2:
        return None
    size, begin = data[at + 1], at + 2
    if size >= 0x80:
        begin += size & 0x7F
        if len(data) < begin:
            return None
        size = int.from_bytes(data[at + 2:begin], "big")
    return (data[at], begin, begin + size) if len(data) >= begin + size else None


class Refused(SystemExit):
    """A result other than success; ends the run unless somebody expects it."""


class Connection:
    def __init__(self, port, timeout=30, dn="", password=""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest, self.number = b"", 0
        self.ask(lambda n: message(n, tlv(0x60, b"\x02\x01\x03" + octets(dn) + tlv(0x80, password.encode()))))

    def replies(self):
        """Yields (number, operation's tag, result code or None, bytes) for every reply that arrives."""
        while True:
            found = element(self.rest, 0)
            if found is None:
                self.more()
                continue
            _, begin, end = found
            data, self.rest = self.rest[:end], self.rest[end:]
            _, at, after = element(data, begin)
            number = int.from_bytes(data[at:after], "big")
            tag, at, _ = element(data, after)
            code = None if tag == ENTRY else data[element(data, at)[1]]
            yield number, tag, code, data

    def more(self):
        chunk = self.socket.recv(1 << 20)
        if not chunk:
            raise SystemExit("the server closed the connection")
        self.rest += chunk

    def ask(self, make):
        """Sends one request and waits for its result; returns the entries. Anything but success ends the run."""
        self.number += 1
        self.socket.sendall(make(self.number))
        entries = []
        for _, tag, code, data in self.replies():
            if tag == ENTRY:
                entries.append(data)
                continue
            if code != 0:
                raise Refused(f"the server refused with code {code}: {data!r}")
            return entries

    def search(self, base, scope, wanted, attributes):
        return self.ask(lambda n: search(n, base, scope, wanted, attributes))

    def modify(self, dn, attribute, values):
        self.ask(lambda n: modify(n, dn, attribute, values))


class Load:
    """Batches of searches, each batch sent at once and awaited.

    Every batch is first sent once with its replies parsed: each search must return exactly the entries it has to. While
    the clock runs only bytes are counted; a batch that does not bring as many as before ends the run.
    """

    def __init__(self, port, batches, base):
        """`batches`: lists of (filter, attributes, entries that must come)."""
        self.connection = Connection(port)
        self.batches, self.spellings = [], 0
        for batch in batches:
            text = b"".join(search(1000 + i, base, SUBTREE, wanted, attributes) for i, (wanted, attributes, _) in enumerate(batch))
            self.batches.append((text, self.verify(text, batch), len(batch)))

    def verify(self, text, batch):
        self.connection.socket.sendall(text)
        entries, size, done = [0] * len(batch), 0, 0
        for number, tag, code, data in self.connection.replies():
            size += len(data)
            if tag == ENTRY:
                entries[number - 1000] += 1
                continue
            if tag != SEARCH_DONE or code != 0:
                raise SystemExit(f"a search failed with code {code}: {data!r}")
            done += 1
            if done == len(batch):
                break
        for got, (_, _, expected) in zip(entries, batch, strict=True):
            if got != expected:
                raise SystemExit(f"a search returned {got} entries instead of {expected}")
        return size

    def spelled_anew(self):
        """All batches, of one search each, in words that were not sent before and that mean the same."""
        self.spellings += 1
        bits, batches = self.spellings, self.batches
        for word in (b"objectClass", b"posix"):
            spelled = bytes(octet ^ 0x20 if bits >> bit & 1 else octet for bit, octet in enumerate(word))
            bits >>= len(word)
            batches = [(text.replace(word, spelled, 1), size, count) for text, size, count in batches]
        if bits:
            raise SystemExit("every spelling has been sent; choose a shorter load")
        return batches

    def repeat(self, passes):
        """Sends all batches that many times."""
        buffer, sock = bytearray(1 << 20), self.connection.socket
        for text, expected, _ in self.batches * passes:
            sock.sendall(text)
            while expected > 0:
                n = sock.recv_into(buffer)
                if not n:
                    raise SystemExit("the server closed the connection")
                expected -= n

    def run(self, seconds, cpu_seconds, is_new=False):
        """Sends batches for some seconds: microseconds of the server's CPU for a search, and searches a second.
        `is_new`: no search in words that were sent before."""
        buffer, sock = bytearray(1 << 20), self.connection.socket
        begin, used, searches, i, batches = time.monotonic(), cpu_seconds(), 0, 0, self.batches
        while time.monotonic() - begin < seconds:
            if is_new and i % len(batches) == 0:
                batches = self.spelled_anew()
            text, expected, count = batches[i % len(batches)]
            sock.sendall(text)
            got = 0
            while got < expected:
                n = sock.recv_into(buffer)
                if not n:
                    raise SystemExit("the server closed the connection")
                got += n
            if got != expected:
                raise SystemExit(f"{got} bytes instead of {expected}")
            searches += count
            i += 1
        elapsed = time.monotonic() - begin
        return {"us": (cpu_seconds() - used) * 1e6 / searches, "per_s": searches / elapsed}


def pinned(cpu):
    os.sched_setaffinity(0, {cpu})

"""A directory of N people and N/20 groups, as LDIF that slapd and gatehouse load alike.

The numbers are the same in every run and on every machine: the generator starts from a fixed seed.
"""
import base64
import random
import uuid

SEED = 7
BASE = "dc=acme,dc=private"
HOST, ZONE = "dev-mysql01", "us-east-1b"
MEMBERS = 40
PATTERNS = ["dev-mysql*.us-east-1b", "web*.us-east-1", "*.eu-west-1", "cache*.us-west-1", "*", "prod-java*.ap-southeast-1a"]


def uid(i):
    return f"u{i:05d}"


def dn(i):
    return f"uid={uid(i)},ou=people,{BASE}"


def _id(rng):
    """entryUUID and the attributes that a server would add: the same entry has the same name in every server."""
    return f"entryUUID: {uuid.UUID(int=rng.getrandbits(128), version=4)}\n"


class People:
    """The directory. `groups_of[i]` is the number of groups that person i is in."""

    def __init__(self, count):
        rng = random.Random(SEED)
        self.count = count
        self.groups_of = [0] * count
        self.top = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\n{_id(rng)}o: acme\ndc: acme\n\n"]
        for ou in ("people", "group"):
            self.top.append(f"dn: ou={ou},{BASE}\nobjectClass: organizationalUnit\n{_id(rng)}ou: {ou}\n\n")
        self.people = [self._person(rng, i) for i in range(count)]
        self.groups = [self._group(rng, g) for g in range(max(10, count // 20))]

    @staticmethod
    def _person(rng, i):
        hosts = "".join(f"host: {pattern}\n" for pattern in rng.sample(PATTERNS, 2))
        return (
            f"dn: {dn(i)}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nobjectClass: ldapPublicKey\n"
            f"objectClass: hostObject\n{_id(rng)}uid: {uid(i)}\ncn: User {i}\nsn: U{i}\nuidNumber: {10000 + i}\n"
            f"gidNumber: 500\nhomeDirectory: /home/{uid(i)}\nloginShell: /bin/bash\n"
            f"sshPublicKey: ssh-ed25519 {key(rng)} {uid(i)}\n{hosts}\n"
        )

    def _group(self, rng, g):
        members = rng.sample(range(self.count), min(MEMBERS, self.count))
        for i in members:
            self.groups_of[i] += 1
        lines = "".join(f"memberUid: {uid(i)}\n" for i in members)
        return f"dn: cn=g{g:04d},ou=group,{BASE}\nobjectClass: posixGroup\n{_id(rng)}cn: g{g:04d}\ngidNumber: {50000 + g}\n{lines}\n"

    def entries(self):
        return len(self.top) + len(self.people) + len(self.groups)

    def write(self, path, people=None, admitted=False):
        """Writes everything, or the first `people` people without groups; all admitted on HOST if asked."""
        with open(path, "w") as out:
            out.writelines(self.top)
            for entry in self.people if people is None else self.people[:people]:
                out.write(entry[:-1] + f"host: {HOST}.{ZONE}\n\n" if admitted else entry)
            if people is None:
                out.writelines(self.groups)


def key(rng):
    """A public key in the form of authorized_keys: the bytes of an ed25519 key, which need not be a point."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + rng.randbytes(32)
    return base64.b64encode(blob).decode()

//! A real OpenLDAP server with syncprov in a folder and on ports of its own, and the people it holds at first.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    authority::Authority,
    harness::{Outcome, Process, finish, free_address, run, wait_for},
};

pub(crate) const BASE: &str = "dc=acme,dc=private";
pub(crate) const PEOPLE: &str = "ou=people,dc=acme,dc=private";
pub(crate) const GROUPS: &str = "ou=group,dc=acme,dc=private";
/// Who may read everything, password hashes as well, without a limit.
pub(crate) const READER: &str = "cn=reader,dc=acme,dc=private";
pub(crate) const READER_SECRET: &str = "reader-secret";
const ADMIN: &str = "cn=admin,dc=acme,dc=private";
const ADMIN_SECRET: &str = "admin-secret";

/// What Debian's schemas lack: keys, and the hosts of a person or a group.
const SCHEMA: &str = "\
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY MAY ( sshPublicKey $ uid ) )
objectclass ( 1.3.6.1.4.1.5322.17.1.1 NAME 'hostObject' SUP top AUXILIARY MAY host )
";

/// A provider. It ends with the value; its data is under the folder it was started in.
pub(crate) struct Slapd {
    dir: PathBuf,
    /// Plain LDAP with StartTLS.
    pub(crate) address: SocketAddr,
    /// LDAPS.
    pub(crate) tls: SocketAddr,
    process: Option<Process>,
}

impl Slapd {
    /// Starts a provider that holds `ldif` and remembers `session_log` changes for those who come back.
    pub(crate) fn start(parent: &Path, authority: &Authority, ldif: &str, session_log: usize) -> Self {
        let dir = parent.join("slapd");
        fs::create_dir_all(dir.join("db")).unwrap();
        let certificate = authority.issue("slapd", "IP:127.0.0.1,DNS:ldap1.corp");
        let home = dir.display();
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/nis.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n{SCHEMA}\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload syncprov\n\
             pidfile {home}/pid\nthreads 4\nserverID 1\n\
             TLSCACertificateFile {ca}\nTLSCertificateFile {chain}\nTLSCertificateKeyFile {key}\n\
             access to attrs=userPassword by dn.exact=\"{READER}\" read by anonymous auth by self =xw by * none\n\
             access to * by * read\n\
             database mdb\nmaxsize 1073741824\nsuffix \"{BASE}\"\nrootdn \"{ADMIN}\"\nrootpw {ADMIN_SECRET}\n\
             directory {home}/db\n\
             index objectClass,uid,uidNumber,gidNumber,cn,memberUid,entryUUID,entryCSN eq\n\
             limits dn.exact=\"{READER}\" size=unlimited time=unlimited\n\
             overlay syncprov\nsyncprov-checkpoint 1 1\nsyncprov-sessionlog {session_log}\n",
            ca = authority.ca().display(),
            chain = certificate.chain.display(),
            key = certificate.key.display(),
        );
        fs::write(dir.join("slapd.conf"), config).unwrap();
        let mut slapd = Self { dir, address: free_address(), tls: free_address(), process: None };
        slapd.load(ldif);
        slapd.launch();
        slapd
    }

    /// Writes entries into the database of a provider that is not running.
    pub(crate) fn load(&self, ldif: &str) {
        let file = self.dir.join("load.ldif");
        fs::write(&file, ldif).unwrap();
        let mut command = Command::new("slapadd");
        // With -w, the newest change gets into contextCSN, as it would have if the entries had come over LDAP.
        command.args(["-w", "-f"]).arg(self.dir.join("slapd.conf")).arg("-l").arg(file);
        finish("slapadd", &mut command).expect_ok();
    }

    /// Starts it, also again, and waits until it answers.
    pub(crate) fn launch(&mut self) {
        let urls = format!("ldap://{}/ ldaps://{}/", self.address, self.tls);
        let mut command = Command::new("slapd");
        command.arg("-f").arg(self.dir.join("slapd.conf")).args(["-h", &urls, "-d", "stats,sync"]);
        let mut process = Process::start("slapd", &self.dir, &mut command);
        wait_for("slapd to answer", || {
            process.assert_running();
            self.search("", "base", "(objectClass=*)", &["1.1"]).ok.then_some(())
        });
        self.process = Some(process);
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("slapd was started")
    }

    /// Deletes all data of a provider that is not running.
    pub(crate) fn wipe(&self) {
        fs::remove_dir_all(self.dir.join("db")).unwrap();
        fs::create_dir(self.dir.join("db")).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("ldap://{}", self.address)
    }

    /// `ldapsearch` without a bind.
    pub(crate) fn search(&self, base: &str, scope: &str, filter: &str, attributes: &[&str]) -> Outcome {
        let url = self.url();
        let words = ["-x", "-LLL", "-o", "ldif-wrap=no", "-H", &url, "-b", base, "-s", scope, filter];
        run("ldapsearch", [&words, attributes].concat())
    }

    /// Change records (RFC 2849) as the administrator; without a `changetype` an entry is added.
    #[track_caller]
    pub(crate) fn change(&self, ldif: &str) {
        let file = self.dir.join("change.ldif");
        fs::write(&file, ldif).unwrap();
        let url = self.url();
        let mut command = Command::new("ldapmodify");
        command.args(["-a", "-x", "-H", &url, "-D", ADMIN, "-w", ADMIN_SECRET, "-f"]).arg(file);
        finish("ldapmodify", command.stdin(Stdio::null())).expect_ok();
    }

    /// Replaces the values of an attribute; none: the attribute goes.
    #[track_caller]
    pub(crate) fn replace(&self, dn: &str, attribute: &str, values: &[&str]) {
        let lines: String = values.iter().map(|value| format!("{attribute}: {value}\n")).collect();
        self.change(&format!("dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{lines}-\n"));
    }

    #[track_caller]
    pub(crate) fn delete(&self, dn: &str) {
        self.change(&format!("dn: {dn}\nchangetype: delete\n"));
    }

    /// Gives an entry, and all below it, another name, and another place if one is named.
    #[track_caller]
    pub(crate) fn rename(&self, dn: &str, rdn: &str, superior: Option<&str>) {
        let superior = superior.map(|dn| format!("newsuperior: {dn}\n")).unwrap_or_default();
        self.change(&format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n{superior}"));
    }
}

/// A person of the sample directory, as LDIF. The password is the user's name and `-secret`.
pub(crate) struct Person<'a> {
    pub(crate) uid: &'a str,
    pub(crate) number: u32,
    /// Values of `host`: where the person may log in.
    pub(crate) hosts: &'a [&'a str],
    /// One line of authorized_keys.
    pub(crate) key: &'a str,
}

impl Person<'_> {
    pub(crate) fn dn(&self) -> String {
        dn_of(self.uid)
    }

    pub(crate) fn ldif(&self) -> String {
        let (uid, number) = (self.uid, self.number);
        let hosts: String = self.hosts.iter().map(|host| format!("host: {host}\n")).collect();
        let key = if self.key.is_empty() { String::new() } else { format!("sshPublicKey: {}\n", self.key.trim()) };
        let password = run("slappasswd", ["-s", &format!("{uid}-secret")]).expect_ok();
        format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nobjectClass: shadowAccount\n\
             objectClass: ldapPublicKey\nobjectClass: hostObject\nuid: {uid}\ncn: {uid}\nsn: {uid}\n\
             uidNumber: {number}\ngidNumber: 20000\nhomeDirectory: /home/{uid}\nloginShell: /bin/sh\n\
             {key}{hosts}userPassword: {password}\n\n",
            dn = self.dn(),
            password = password.trim()
        )
    }
}

pub(crate) fn dn_of(uid: &str) -> String {
    format!("uid={uid},{PEOPLE}")
}

/// A group by its members' names, as LDIF.
pub(crate) fn group(name: &str, number: u32, members: &[&str], hosts: &[&str]) -> String {
    let members: String = members.iter().map(|uid| format!("memberUid: {uid}\n")).collect();
    let hosts: String = hosts.iter().map(|host| format!("host: {host}\n")).collect();
    let class = if hosts.is_empty() { "" } else { "objectClass: hostObject\n" };
    format!(
        "dn: cn={name},{GROUPS}\nobjectClass: posixGroup\n{class}cn: {name}\ngidNumber: {number}\n{members}{hosts}\n"
    )
}

/// The top of the tree, the reader, and a group that is everybody's first.
pub(crate) fn skeleton() -> String {
    format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: acme\ndc: acme\n\n\
         dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\n\
         userPassword: {READER_SECRET}\n\n\
         dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: {GROUPS}\nobjectClass: organizationalUnit\nou: group\n\n"
    ) + &group("staff", 20000, &[], &[])
}

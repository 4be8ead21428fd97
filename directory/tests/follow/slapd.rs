//! A real OpenLDAP provider on a port and in a folder of its own.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::ports::free_port;

pub(crate) const BASE: &str = "dc=acme,dc=private";
pub(crate) const READER: &str = "cn=reader,dc=acme,dc=private";
const ADMIN: &str = "cn=admin,dc=acme,dc=private";

/// The provider; killed with the value.
pub(crate) struct Slapd {
    dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    child: Option<Child>,
}

/// Additions to the configuration.
#[derive(Default)]
pub(crate) struct Extra<'a> {
    /// Before the database.
    pub(crate) global: &'a str,
    /// No overlay syncprov.
    pub(crate) mute: bool,
    /// No limits beyond the usual ones for the reader.
    pub(crate) limited: bool,
}

impl Slapd {
    pub(crate) fn start(dir: &Path, ldif: &str, extra: &Extra<'_>) -> Self {
        let dir = dir.join("slapd");
        fs::create_dir_all(dir.join("db")).unwrap();
        let home = dir.display();
        let sync =
            if extra.mute { "" } else { "overlay syncprov\nsyncprov-checkpoint 1 1\nsyncprov-sessionlog 1000\n" };
        let limits = format!("limits dn.exact=\"{READER}\" size=unlimited time=unlimited\n");
        let limits = if extra.limited { "sizelimit 3\n" } else { &limits };
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/nis.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload syncprov\n\
             pidfile {home}/pid\nthreads 4\nserverID 1\n{global}\n\
             access to attrs=userPassword by dn.exact=\"{READER}\" read by anonymous auth by * none\n\
             access to * by * read\n\
             database mdb\nmaxsize 1073741824\nsuffix \"{BASE}\"\nrootdn \"{ADMIN}\"\nrootpw admin\n\
             directory {home}/db\nindex objectClass,uid,entryUUID,entryCSN eq\n{limits}{sync}",
            global = extra.global,
        );
        fs::write(dir.join("slapd.conf"), config).unwrap();
        let mut slapd = Self { dir, port: free_port(), tls_port: free_port(), child: None };
        slapd.load(ldif);
        slapd.launch();
        slapd
    }

    /// Fills the database of a provider that does not run.
    pub(crate) fn load(&self, ldif: &str) {
        let file = self.dir.join("load.ldif");
        fs::write(&file, ldif).unwrap();
        let mut command = Command::new("slapadd");
        command.args(["-q", "-w", "-f"]).arg(self.dir.join("slapd.conf")).arg("-l").arg(file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Everything that it holds, with operational attributes.
    pub(crate) fn dump(&self) -> String {
        let output = Command::new("slapcat").arg("-f").arg(self.dir.join("slapd.conf")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn wipe(&self) {
        fs::remove_dir_all(self.dir.join("db")).unwrap();
        fs::create_dir(self.dir.join("db")).unwrap();
    }

    pub(crate) fn launch(&mut self) {
        let urls = format!("ldap://127.0.0.1:{}/ ldaps://127.0.0.1:{}/", self.port, self.tls_port);
        let urls = if self.dir.join("tls").exists() { urls } else { format!("ldap://127.0.0.1:{}/", self.port) };
        let log = fs::File::create(self.dir.join("log")).unwrap();
        let mut command = Command::new("slapd");
        command.arg("-f").arg(self.dir.join("slapd.conf")).args(["-h", &urls, "-d", "stats,sync"]);
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "slapd does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        self.child.take().unwrap().wait().unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Change records, as the administrator.
    pub(crate) fn change(&self, ldif: &str) {
        let mut command = Command::new("ldapmodify");
        command.args(["-a", "-x", "-H", &self.url(), "-D", ADMIN, "-w", "admin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(ldif.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn replace(&self, dn: &str, attribute: &str, value: &str) {
        self.change(&format!("dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"));
    }

    pub(crate) fn delete(&self, dn: &str) {
        self.change(&format!("dn: {dn}\nchangetype: delete\n"));
    }

    pub(crate) fn rename(&self, dn: &str, rdn: &str) {
        self.change(&format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n"));
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The suffix, the reader with password `secret`, and two units.
pub(crate) fn base() -> String {
    format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Acme\ndc: acme\n\n\
         dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: secret\n\n\
         dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=ops,ou=people,{BASE}\nobjectClass: organizationalUnit\nou: ops\n\n"
    )
}

/// `n` people in `ou=people`, and two in `ou=ops` below it.
pub(crate) fn people(n: usize) -> String {
    let mut ldif = base();
    for i in 0..n {
        person(&mut ldif, &format!("u{i}"), "ou=people", i);
    }
    person(&mut ldif, "ada", "ou=ops,ou=people", 70_001);
    person(&mut ldif, "bob", "ou=ops,ou=people", 70_002);
    ldif
}

pub(crate) fn person(ldif: &mut String, uid: &str, unit: &str, number: usize) {
    write!(
        ldif,
        "dn: uid={uid},{unit},{BASE}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nuid: {uid}\ncn: {uid} Person\n\
         sn: Person\nuidNumber: {number}\ngidNumber: 1000\nhomeDirectory: /home/{uid}\nloginShell: /bin/bash\n\
         mail: {uid}@acme.example\nuserPassword: {{SSHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n\n"
    )
    .unwrap();
}

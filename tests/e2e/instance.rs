//! An instance: a host name, an /etc and processes of its own, with Debian's directory clients in it.
//!
//! It is a mount, UTS and process namespace on the test's machine and network. /etc, /run, /home, /opt, /var/log and
//! /var/lib/sss are in memory and gone with it; the machine's own stay untouched. Its first process is killed with the
//! value, and the kernel then kills every process inside.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    authority::Authority,
    harness::{GATEHOUSE, Outcome, Process, finish, run, wait_for},
    ports::free_port,
    slapd::BASE,
};

/// The first process inside: makes the file systems, says that they are there, and waits for its end.
const FIRST: &str = r#"
set -eu
mount --make-rprivate /
private() { mount -t tmpfs -o mode=755 gatehouse-test "$1"; }
private /mnt && cp -a /etc/. /mnt/ && chmod 755 /mnt && mount --move /mnt /etc
private /mnt && cp -a /var/lib/sss/. /mnt/ && rm -f /mnt/db/* /mnt/mc/* && mount --move /mnt /var/lib/sss
for folder in /run /home /opt /var/log; do private $folder; done
mkdir -p /var/log/sssd /run/sshd /run/nslcd /opt/bin
chown nslcd: /run/nslcd
touch /opt/bin/gatehouse && mount --bind "$1" /opt/bin/gatehouse
rm -rf /etc/ssh/sshd_config.d /etc/ssh/ssh_config.d
hostname "$2"
echo ready >/run/ready
exec sleep infinity
"#;

/// Every service that logs people in here asks this stack's modules.
const ACCOUNT_NSLCD: &str = "account required pam_ldap.so minimum_uid=1000\n";
const ACCOUNT_SSSD: &str = "account [default=bad success=ok user_unknown=ignore] pam_sss.so\n";

/// Whom sshd runs the AuthorizedKeysCommand as.
const KEYS_USER: &str = "nobody";

/// Where the directory's clients find it.
pub(crate) struct Directory {
    pub(crate) address: SocketAddr,
    /// Whether the connection is to be encrypted by StartTLS (sssd always does).
    pub(crate) start_tls: bool,
    /// For `pam_authz_search` and `ldap_access_filter`.
    pub(crate) access_filter: String,
}

pub(crate) struct Instance {
    dir: PathBuf,
    first: Process,
    /// Process number of the first process inside, seen from outside.
    pid: u32,
    daemons: Vec<Process>,
}

impl Instance {
    /// An instance whose files for the outside (logs) are under `parent`.
    pub(crate) fn new(parent: &Path, hostname: &str, authority: &Authority) -> Self {
        let dir = parent.join(hostname);
        fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", FIRST, "instance", GATEHOUSE, hostname]);
        let mut first = Process::start("instance", &dir, &mut command);
        let children = format!("/proc/{0}/task/{0}/children", first.id());
        let pid = wait_for("the instance", || {
            first.assert_running();
            let pid: u32 = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            fs::exists(format!("/proc/{pid}/root/run/ready")).ok()?.then_some(pid)
        });
        let instance = Self { dir, first, pid, daemons: Vec::new() };
        instance.write("/etc/ssl/test-ca.pem", &fs::read_to_string(authority.ca()).unwrap(), 0o644);
        instance
    }

    /// A file of the instance as it is reached from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    pub(crate) fn write(&self, inside: &str, text: &str, mode: u32) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A command inside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--mount", "--uts", "--pid", "--wd=/", program]);
        command
    }

    /// Runs a command inside to its end.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, words: &[&str]) -> Outcome {
        finish(program, self.command(program).args(words))
    }

    fn daemon(&mut self, name: &str, words: &[&str]) {
        let mut command = self.command(name);
        command.args(words);
        self.daemons.push(Process::start(name.rsplit('/').next().unwrap(), &self.dir, &mut command));
    }

    fn name_services(&self, service: &str) {
        let text: String = ["passwd", "group", "shadow"].map(|map| format!("{map}: files {service}\n")).concat();
        self.write("/etc/nsswitch.conf", &(text + &format!("sudoers: files {service}\nhosts: files dns\n")), 0o644);
    }

    /// nslcd, with the name service and PAM module that ask it.
    pub(crate) fn nslcd(&mut self, directory: &Directory) {
        let tls = if directory.start_tls { "ssl start_tls\n" } else { "" };
        let config = format!(
            "uid nslcd\ngid nslcd\nuri ldap://{}/\nbase {BASE}\n{tls}tls_reqcert demand\n\
             tls_cacertfile /etc/ssl/test-ca.pem\nbind_timelimit 4\ntimelimit 2\nreconnect_sleeptime 1\n\
             reconnect_retrytime 1\nreferrals no\npam_authz_search {}\n",
            directory.address, directory.access_filter
        );
        self.write("/etc/nslcd.conf", &config, 0o640);
        let group = run("id", ["--group", "nslcd"]).expect_ok().trim().parse().unwrap();
        chown(self.path("/etc/nslcd.conf"), Some(0), Some(group)).unwrap();
        self.name_services("ldap");
        let auth = "auth required pam_ldap.so minimum_uid=1000\n";
        self.write("/etc/pam.d/login-test", &format!("{auth}{ACCOUNT_NSLCD}"), 0o644);
        self.write("/etc/pam.d/sshd", &format!("auth required pam_deny.so\n{ACCOUNT_NSLCD}{SESSION}"), 0o644);
        self.daemon("nslcd", &["-n"]);
        wait_for("nslcd's socket", || self.path("/run/nslcd/socket").exists().then_some(()));
    }

    /// sssd, with the name service and PAM module that ask it.
    pub(crate) fn sssd(&mut self, directory: &Directory) {
        let config = format!(
            "[sssd]\nservices = nss, pam, sudo\ndomains = acme\n[nss]\nentry_negative_timeout = 1\n\
             [domain/acme]\nid_provider = ldap\nauth_provider = ldap\naccess_provider = ldap\nchpass_provider = none\n\
             sudo_provider = ldap\nldap_sudo_include_regexp = true\nldap_uri = ldap://{}\nldap_search_base = {BASE}\nldap_schema = rfc2307\nldap_id_use_start_tls = true\n\
             ldap_tls_reqcert = demand\nldap_tls_cacert = /etc/ssl/test-ca.pem\n\
             ldap_access_order = filter\nldap_access_filter = {}\ncache_credentials = false\n\
             entry_cache_timeout = 1\nldap_network_timeout = 1\nldap_opt_timeout = 4\nldap_search_timeout = 2\n",
            directory.address, directory.access_filter
        );
        self.write("/etc/sssd/sssd.conf", &config, 0o600);
        self.name_services("sss");
        let auth = "auth required pam_sss.so\n";
        self.write("/etc/pam.d/login-test", &format!("{auth}{ACCOUNT_SSSD}"), 0o644);
        self.write("/etc/pam.d/sshd", &format!("auth required pam_deny.so\n{ACCOUNT_SSSD}{SESSION}"), 0o644);
        self.daemon("sssd", &["-i", "--logger=stderr"]);
        wait_for("sssd's sockets", || {
            let ready = |name| self.path("/var/lib/sss/pipes").join(name).exists();
            (ready("nss") && ready("pam")).then_some(())
        });
    }

    /// sshd on a port of its own. `keys` is the AuthorizedKeysCommand.
    pub(crate) fn sshd(&mut self, keys: &str) -> Sshd {
        let port = free_port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/test_host_key\nUsePAM yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile none\n\
             AuthorizedKeysCommand {keys}\nAuthorizedKeysCommandUser {KEYS_USER}\nUseDNS no\nPrintMotd no\n\
             PrintLastLog no\nLogLevel VERBOSE\nLoginGraceTime 30\n"
        );
        self.write("/etc/ssh/sshd_config", &config, 0o644);
        self.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/test_host_key"]).expect_ok();
        self.daemon("/usr/sbin/sshd", &["-D", "-e"]);
        let log = self.dir.join("sshd.log");
        wait_for("sshd", || fs::read_to_string(&log).is_ok_and(|text| text.contains("Server listening")).then_some(()));
        Sshd { port, dir: self.dir.clone() }
    }

    /// What `gatehouse keys` and `gatehouse access check` need: the appliances, nearest first, and who this host is.
    pub(crate) fn identity(&self, authority: &Authority, name: &str, appliances: &[SocketAddr]) {
        let certificate = authority.issue(name, &format!("DNS:{name}.acme.private"));
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        self.write("/etc/gatehouse/host.pem", &read(&certificate.chain), 0o644);
        self.write("/etc/gatehouse/host.key", &read(&certificate.key), 0o600);
        let appliances: Vec<_> = appliances.iter().map(ToString::to_string).collect();
        let config = format!(
            "appliances = {appliances:?}\nca = \"/etc/ssl/test-ca.pem\"\ncert = \"host.pem\"\nkey = \"host.key\"\n\
             cache_dir = \"/run/answers\"\n"
        );
        self.write("/etc/gatehouse/client.toml", &config, 0o644);
        // sshd runs the command as a user without rights, who must be able to say who this host is.
        self.run("chown", &[KEYS_USER, "/etc/gatehouse/host.key"]).expect_ok();
        self.run("install", &["-d", "-m", "0755", "/run/answers"]).expect_ok();
        self.run("install", &["-d", "-m", "0700", "-o", KEYS_USER, "/run/answers/keys"]).expect_ok();
    }

    /// `gatehouse keys`, as sshd runs it.
    pub(crate) fn keys(&self, user: &str) -> Outcome {
        let who = format!("--reuid={KEYS_USER}");
        self.run("setpriv", &[&who, "--regid=nogroup", "--clear-groups", "/opt/bin/gatehouse", "keys", user])
    }

    /// A login with a password: PAM's authentication and account phases, and how long they took.
    pub(crate) fn login(&self, user: &str, password: &str) -> (Outcome, Duration) {
        let started = Instant::now();
        let mut command = self.command("pamtester");
        command.args(["login-test", user, "authenticate", "acct_mgmt"]);
        (with_input("pamtester", &mut command, &format!("{password}\n")), started.elapsed())
    }

    /// Whether a name is known here.
    pub(crate) fn knows(&self, user: &str) -> bool {
        self.run("getent", &["passwd", user]).ok
    }

    /// Waits until a name is known here: a client that has just started may not have connected yet.
    pub(crate) fn wait_for_user(&self, user: &str) {
        wait_for(&format!("{user} to be known"), || self.knows(user).then_some(()));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.first.kill();
    }
}

const SESSION: &str = "session required pam_permit.so\n";

/// The sshd of an instance.
pub(crate) struct Sshd {
    port: u16,
    dir: PathBuf,
}

impl Sshd {
    /// Logs in with a key and runs a command; also how long it took.
    pub(crate) fn login(&self, user: &str, key: &Key, command: &str) -> (Outcome, Duration) {
        let started = Instant::now();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-p", &self.port.to_string(), "-i"]).arg(&key.private);
        for option in [
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        (finish("ssh", ssh.arg(format!("{user}@127.0.0.1")).arg(command)), started.elapsed())
    }

    /// What sshd logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("sshd.log")).unwrap()
    }
}

/// A person's key pair.
pub(crate) struct Key {
    private: PathBuf,
    /// The line for authorized_keys.
    pub(crate) public: String,
}

impl Key {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let private = dir.join(name);
        finish("ssh-keygen", Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&private))
            .expect_ok();
        let public = fs::read_to_string(dir.join(format!("{name}.pub"))).unwrap();
        Self { private, public: public.trim().into() }
    }
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn with_input(name: &str, command: &mut Command, input: &str) -> Outcome {
    use std::io::Write as _;
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|e| panic!("cannot run {name}: {e}"));
    // It may have ended before it read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

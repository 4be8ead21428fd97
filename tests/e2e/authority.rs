//! Certificates for servers and hosts, made by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::finish;

/// A certificate authority of one test.
pub(crate) struct Authority {
    dir: PathBuf,
}

/// What a server or a host presents.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Authority {
    pub(crate) fn new(parent: &Path) -> Self {
        let dir = parent.join("tls");
        fs::create_dir(&dir).unwrap();
        let mut command = Command::new("openssl");
        command.current_dir(&dir).args(["req", "-x509"]).args(NEW_KEY);
        command.args(["-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=gatehouse test authority"]);
        finish("openssl", &mut command).expect_ok();
        Self { dir }
    }

    /// The certificate that all others are verified with.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate for `name` with the given subject alternative names (`DNS:…,IP:…`), for both ends of a connection.
    pub(crate) fn issue(&self, name: &str, alternatives: &str) -> Certificate {
        let file = |ending: &str| format!("{name}.{ending}");
        let openssl = |words: &[&str]| {
            finish("openssl", Command::new("openssl").current_dir(&self.dir).args(words)).expect_ok();
        };
        let (key, request, chain, extensions) = (file("key"), file("csr"), file("pem"), file("ext"));
        let text = format!("subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\n");
        fs::write(self.dir.join(&extensions), text).unwrap();
        let subject = format!("/CN={name}");
        openssl(&[&["req"], &NEW_KEY[..], &["-keyout", &key, "-out", &request, "-subj", &subject]].concat());
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        let out = ["-days", "2", "-extfile", &extensions, "-out", &chain];
        openssl(&[&["x509", "-req", "-in", &request], &by[..], &out[..]].concat());
        Certificate { chain: self.dir.join(chain), key: self.dir.join(key) }
    }
}

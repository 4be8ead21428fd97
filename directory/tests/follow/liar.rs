//! A directory server that does not keep to the rules: it speaks LDAP, and answers a sync search with whatever it is told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use ldap3_proto::{LdapCodec, LdapMsg, LdapSearchScope, control::LdapControl, proto::LdapOp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::codec::Decoder;

/// One answer to a sync search: messages (without their envelope), and whether the search stays open.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) messages: Vec<Message>,
    /// Octets that are sent as they are, behind the messages.
    pub(crate) raw: Vec<u8>,
    /// Close the connection.
    pub(crate) close: bool,
}

/// A protocol operation and its controls, encoded.
#[derive(Clone)]
pub(crate) struct Message(pub(crate) Vec<u8>, pub(crate) Vec<u8>);

pub(crate) struct Liar {
    pub(crate) url: String,
    /// The cookies of the sync searches that came.
    pub(crate) cookies: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An element of BER.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag, 0x84];
    out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend(body);
    out
}

fn controls(oid: &str, value: &[u8]) -> Vec<u8> {
    tlv(0xa0, &[&tlv(0x30, &[&tlv(4, &[oid.as_bytes()]), &tlv(4, &[value])])])
}

fn cookie_of(cookie: Option<&str>) -> Vec<u8> {
    cookie.map(|cookie| tlv(4, &[cookie.as_bytes()])).unwrap_or_default()
}

/// A person with `state` (1 for added); the identity is made of `n`.
pub(crate) fn entry(n: u8, state: u8, cookie: Option<&str>) -> Message {
    let attribute = |name: &str, value: &str| {
        tlv(0x30, &[&tlv(4, &[name.as_bytes()]), &tlv(0x31, &[&tlv(4, &[value.as_bytes()])])])
    };
    let uid = format!("u{n}");
    let attributes = [attribute("objectClass", "person"), attribute("uid", &uid)].concat();
    let dn = format!("uid={uid},ou=people,dc=acme,dc=private");
    let entry = tlv(0x64, &[&tlv(4, &[dn.as_bytes()]), &tlv(0x30, &[&attributes])]);
    let value = tlv(0x30, &[&[0x0a, 1, state], &tlv(4, &[&[n; 16]]), &cookie_of(cookie)]);
    Message(entry, controls("1.3.6.1.4.1.4203.1.9.1.2", &value))
}

/// A group of `members`, with names of forty octets each.
pub(crate) fn group(n: u8, members: usize) -> Message {
    let values: Vec<u8> =
        (0..members).flat_map(|i| tlv(4, &[format!("uid=u{i:09},ou=people,dc=acme,dc=private").as_bytes()])).collect();
    let attribute = |name: &str, values: &[u8]| tlv(0x30, &[&tlv(4, &[name.as_bytes()]), &tlv(0x31, &[values])]);
    let attributes = [attribute("objectClass", &tlv(4, &[b"groupOfNames"])), attribute("member", &values)].concat();
    let dn = format!("cn=g{n},ou=group,dc=acme,dc=private");
    let entry = tlv(0x64, &[&tlv(4, &[dn.as_bytes()]), &tlv(0x30, &[&attributes])]);
    let value = tlv(0x30, &[&[0x0a, 1, 1], &tlv(4, &[&[n; 16]])]);
    Message(entry, controls("1.3.6.1.4.1.4203.1.9.1.2", &value))
}

/// An entry whose Sync State control has this value.
pub(crate) fn entry_with(value: &[u8]) -> Message {
    Message(entry(1, 1, None).0, controls("1.3.6.1.4.1.4203.1.9.1.2", value))
}

/// A Sync Info message.
pub(crate) fn info(value: &[u8]) -> Message {
    Message(tlv(0x79, &[&tlv(0x80, &[b"1.3.6.1.4.1.4203.1.9.1.4"]), &tlv(0x81, &[value])]), Vec::new())
}

/// refreshPresent (`0xa2`) or refreshDelete (`0xa1`), done.
pub(crate) fn refresh_end(tag: u8, cookie: Option<&str>) -> Message {
    info(&tlv(tag, &[&cookie_of(cookie)]))
}

/// syncIdSet.
pub(crate) fn id_set(deletes: bool, ids: &[u8], cookie: Option<&str>) -> Message {
    let ids: Vec<u8> = ids.iter().flat_map(|n| tlv(4, &[&[*n; 16]])).collect();
    info(&tlv(0xa3, &[&cookie_of(cookie), &[1, 1, if deletes { 0xff } else { 0 }], &tlv(0x31, &[&ids])]))
}

/// SearchResultDone.
pub(crate) fn done(code: u16, text: &str) -> Message {
    let code = if code < 128 { vec![u8::try_from(code).unwrap()] } else { code.to_be_bytes().to_vec() };
    Message(tlv(0x65, &[&tlv(0x0a, &[&code]), &tlv(4, &[]), &tlv(4, &[text.as_bytes()])]), Vec::new())
}

impl Liar {
    /// Answers the first sync search by the first script, and so on; the last one again and again.
    pub(crate) async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let cookies = Arc::new(Mutex::new(Vec::new()));
        let (seen, scripts) = (cookies.clone(), Arc::new(Mutex::new(VecDeque::from(scripts))));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, scripts.clone(), seen.clone()));
            }
        });
        Self { url, cookies, task }
    }
}

async fn serve(
    mut stream: TcpStream,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    cookies: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
) -> Option<()> {
    let (mut codec, mut buffer) = (LdapCodec::default(), BytesMut::new());
    loop {
        while let Ok(Some(LdapMsg { msgid, op, ctrl })) = codec.decode(&mut buffer) {
            let id = tlv(2, &[&msgid.to_be_bytes()]);
            let message = |Message(op, controls): &Message| tlv(0x30, &[&id, op, controls]);
            let mut out = Vec::new();
            let sync = ctrl.iter().find_map(|control| match control {
                LdapControl::SyncRequest { cookie, .. } => Some(cookie.clone()),
                _ => None,
            });
            match (op, sync) {
                (LdapOp::BindRequest(_), _) => {
                    out = message(&Message(tlv(0x61, &[&[0x0a, 1, 0], &[4, 0], &[4, 0]]), Vec::new()));
                }
                (LdapOp::SearchRequest(_), Some(cookie)) => {
                    cookies.lock().unwrap().push(cookie);
                    let script = {
                        let mut scripts = scripts.lock().unwrap();
                        let script = scripts.pop_front().unwrap_or_default();
                        if scripts.is_empty() {
                            scripts.push_back(script.clone());
                        }
                        script
                    };
                    out.extend(script.messages.iter().flat_map(message));
                    out.extend(script.raw);
                    if script.close {
                        stream.write_all(&out).await.ok()?;
                        return None;
                    }
                }
                (LdapOp::SearchRequest(search), None) => {
                    if search.base.is_empty() && search.scope == LdapSearchScope::Base {
                        let values = tlv(0x31, &[&tlv(4, &[b"1.3.6.1.4.1.4203.1.9.1.1"])]);
                        let attributes = tlv(0x30, &[&tlv(0x30, &[&tlv(4, &[b"supportedControl"]), &values])]);
                        out.extend(message(&Message(tlv(0x64, &[&[4, 0], &attributes]), Vec::new())));
                    }
                    out.extend(message(&done(0, "")));
                }
                _ => return None,
            }
            stream.write_all(&out).await.ok()?;
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

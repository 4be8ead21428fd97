//! Operations and controls.

use ldap3_proto::{LdapResultCode as Code, control::LdapControl, proto::*};

use super::{
    client::{Client, extended, request},
    world::{BASE, World, company},
};

const ADA: &str = "uid=ada,ou=people,dc=acme,dc=private";

async fn bound(more: &str) -> (World, Client) {
    let world = World::new(company(), more).await;
    let mut client = Client::plain(world.plain).await;
    assert_eq!(client.bind(ADA, "secret-of-ada").await, Code::Success);
    (world, client)
}

#[tokio::test]
async fn clients_that_follow_every_hint_of_the_root_arrive() {
    let world = World::new(company(), "").await;
    let mut client = Client::plain(world.plain).await;
    let user = client.search("", LdapSearchScope::Base, "(objectClass=*)", &[]).await;
    assert_eq!((user.values("objectClass"), user.values("namingContexts")), (vec!["top".to_owned()], vec![]));
    let root = client.search("", LdapSearchScope::Base, "(objectClass=*)", &["*", "+"]).await;
    assert_eq!(root.values("namingContexts"), [BASE]);
    assert_eq!(root.values("lastUSN"), ["7"]);
    assert_eq!(root.values("supportedSASLMechanisms"), ["EXTERNAL"]);
    let subschema = root.values("subschemaSubentry").remove(0);
    let schema = client.search(&subschema, LdapSearchScope::Base, "(objectClass=subschema)", &["attributeTypes"]).await;
    assert!(schema.values("attributeTypes").len() > 60);
    for oid in root.values("supportedExtension") {
        let response = client.extended(&oid, None).await;
        let is_known = response.res.message != "this extended operation is not served";
        assert!(is_known, "{oid}: {}", response.res.message);
        if oid == "1.3.6.1.4.1.1466.20037" {
            client = Client::plain(world.plain).await;
        }
    }
}

#[tokio::test]
async fn a_bound_person_reads_their_own_entry_by_an_attribute_that_does_not_exist() {
    let (_world, mut client) = bound("").await;
    let found = client.search(ADA, LdapSearchScope::Base, "(objectClass=*)", &["dn"]).await;
    assert_eq!((found.code(), found.names()), (Code::Success, vec!["uid=ada"]));
    assert!(found.entries[0].attributes.is_empty());
    assert_eq!(client.who_am_i().await, format!("dn:{ADA}"));
    assert_eq!(client.bind("", "").await, Code::Success);
    assert_eq!(client.who_am_i().await, "");
}

#[tokio::test]
async fn secrets_never_leave() {
    let (_world, mut client) = bound("").await;
    for attributes in [&["userPassword"][..], &["*", "+"], &["userPassword;x-hashed"]] {
        let found = client.search(ADA, LdapSearchScope::Base, "(objectClass=*)", attributes).await;
        assert!(found.values("userPassword").is_empty());
    }
    for filter in ["(userPassword=secret-of-ada)", "(userPassword=*)", "(!(userPassword=x))", "(2.5.4.35=*)"] {
        assert!(client.search(BASE, LdapSearchScope::Subtree, filter, &[]).await.entries.is_empty(), "{filter}");
    }
    let compare = |atype: &str, val: &str| {
        LdapOp::CompareRequest(LdapCompareRequest { dn: ADA.into(), atype: atype.into(), val: val.into() })
    };
    for (attribute, value, expected) in [
        ("userPassword", "secret-of-ada", Code::InsufficentAccessRights),
        ("uid", "ADA", Code::CompareTrue),
        ("uid", "bob", Code::CompareFalse),
        ("host", "x", Code::NoSuchAttribute),
        ("gatehouseAccess", "db1.us-east-1a", Code::CompareTrue),
        ("gatehouseAccess", "web1", Code::CompareFalse),
    ] {
        let LdapOp::CompareResult(result) = client.ask(compare(attribute, value)).await else { panic!() };
        assert_eq!(result.code, expected, "{attribute}={value}");
    }
}

#[tokio::test]
async fn passwords_need_tls_and_are_never_empty() {
    let world = World::new(company(), r#", "plain_binds": []"#).await;
    let mut client = Client::plain(world.plain).await;
    assert_eq!(client.bind(ADA, "secret-of-ada").await, Code::ConfidentialityRequired);
    assert_eq!(client.bind(ADA, "").await, Code::UnwillingToPerform);
    let mut client = Client::start_tls(&world, None).await;
    assert_eq!(client.bind(ADA, "wrong").await, Code::InvalidCredentials);
    assert_eq!(client.who_am_i().await, "");
    assert_eq!(client.bind("uid=nobody,dc=acme", "wrong").await, Code::InvalidCredentials);
    let mut client = Client::tls(&world, None).await;
    assert_eq!(client.bind("uid=Bob, OU=people,dc=acme,dc=private", "secret-of-bob").await, Code::Success);
    let counted = world.server.counters();
    assert_eq!((counted.binds_right, counted.binds_wrong), (1, 2));
    assert_eq!((counted.binds_not_secure, counted.binds_empty), (1, 1));
    let reasons: Vec<_> = world.decisions().into_iter().filter_map(|line| line.entry.map(|e| e.verdict)).collect();
    assert_eq!(reasons.iter().filter(|verdict| *verdict == "allow").count(), 1);
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_protocol() {
    let (world, mut client) = bound("").await;
    let writes = [
        LdapOp::DelRequest(ADA.into()),
        LdapOp::ModifyRequest(LdapModifyRequest { dn: ADA.into(), changes: vec![] }),
        LdapOp::AddRequest(LdapAddRequest { dn: ADA.into(), attributes: vec![] }),
        LdapOp::ModifyDNRequest(LdapModifyDNRequest {
            dn: ADA.into(),
            newrdn: "uid=x".into(),
            deleteoldrdn: true,
            new_superior: None,
        }),
    ];
    for write in writes {
        let result = match client.ask(write).await {
            LdapOp::DelResponse(r)
            | LdapOp::ModifyResponse(r)
            | LdapOp::AddResponse(r)
            | LdapOp::ModifyDNResponse(r) => r,
            other => panic!("{other:?}"),
        };
        assert_eq!(result.code, Code::UnwillingToPerform);
    }
    assert_eq!(client.extended("1.3.6.1.4.1.4203.1.11.1", None).await.res.code, Code::UnwillingToPerform);
    assert_eq!(client.extended("1.2.3", None).await.res.code, Code::ProtocolError);
    assert_eq!(client.extended("1.3.6.1.1.8", Some(vec![0x30, 3, 2, 1, 99])).await.res.code, Code::NoSuchOperation);
    let control = |criticality| LdapControl::Unknown { oid: "1.2.3.4".into(), criticality, value: None };
    let ada = || request(ADA, LdapSearchScope::Base, "(objectClass=*)", &[]);
    let critical = client.search_with(ada(), vec![control(true)]).await;
    assert_eq!(critical.code(), Code::UnavailableCriticalExtension);
    assert_eq!(client.search_with(ada(), vec![control(false)]).await.entries.len(), 1);
    let manage = LdapControl::ManageDsaIT { criticality: true };
    assert_eq!(client.search_with(ada(), vec![manage]).await.entries.len(), 1);
    let cred = LdapBindCred::SASL(SaslCredentials { mechanism: "GSSAPI".into(), credentials: vec![] });
    let LdapOp::BindResponse(response) =
        client.ask(LdapOp::BindRequest(LdapBindRequest { version: 3, dn: String::new(), cred })).await
    else {
        panic!()
    };
    assert_eq!(response.res.code, Code::AuthMethodNotSupported);
    let cred = LdapBindCred::Simple(String::new());
    let LdapOp::BindResponse(response) =
        client.ask(LdapOp::BindRequest(LdapBindRequest { version: 2, dn: String::new(), cred })).await
    else {
        panic!()
    };
    assert_eq!(response.res.code, Code::ProtocolError);
    assert_eq!(world.server.counters().writes_refused, 5);
}

#[tokio::test]
async fn a_missing_base_names_the_nearest_entry() {
    let (_world, mut client) = bound("").await;
    let found = client.search("cn=x,ou=None,ou=People,dc=acme,dc=private", LdapSearchScope::Base, "(a=*)", &[]).await;
    assert_eq!((found.code(), found.result.matcheddn.as_str()), (Code::NoSuchObject, "ou=people,dc=acme,dc=private"));
    let found = client.search("", LdapSearchScope::Subtree, "(uid=ada)", &[]).await;
    assert_eq!(found.code(), Code::NoSuchObject);
    let found = client.search("no dn", LdapSearchScope::Subtree, "(uid=ada)", &[]).await;
    assert_eq!(found.code(), Code::InvalidDNSyntax);
}

#[tokio::test]
async fn a_directory_without_content_is_unavailable_not_empty() {
    let world = World::new(vec![], r#", "allow_anonymous": ["127.0.0.0/8"]"#).await;
    let mut client = Client::plain(world.plain).await;
    let paged = LdapControl::SimplePagedResults { size: 10, cookie: vec![] };
    let found = client.search_with(request(BASE, LdapSearchScope::Subtree, "(uid=*)", &[]), vec![paged]).await;
    assert_eq!((found.code(), found.entries.len()), (Code::Unavailable, 0));
}

#[tokio::test]
async fn scopes_sizes_types_and_pages() {
    let (_world, mut client) = bound("").await;
    for (scope, count) in [
        (LdapSearchScope::Base, 1),
        (LdapSearchScope::OneLevel, 3),
        (LdapSearchScope::Subtree, 12),
        (LdapSearchScope::Children, 11),
    ] {
        // The ninth entry is ou=sudoers, with a role and its denial.
        let found = client.search(BASE, scope.clone(), "(objectClass=*)", &["1.1"]).await;
        assert_eq!(found.entries.len(), count, "{scope:?} {:?}", found.names());
    }
    let people = || request(BASE, LdapSearchScope::Subtree, "(objectClass=posixAccount)", &["uid"]);
    let one = client.search_with(LdapSearchRequest { sizelimit: 1, ..people() }, vec![]).await;
    assert_eq!((one.code(), one.entries.len()), (Code::SizeLimitExceeded, 1));
    let types = client.search_with(LdapSearchRequest { typesonly: true, sizelimit: 3, ..people() }, vec![]).await;
    assert_eq!((types.code(), types.entries.len()), (Code::Success, 3));
    assert!(types.entries.iter().all(|e| e.attributes.len() == 1 && e.attributes[0].vals.is_empty()));

    let mut cookie = vec![];
    let mut pages = Vec::new();
    loop {
        let control = LdapControl::SimplePagedResults { size: 2, cookie };
        let page = client.search_with(people(), vec![control]).await;
        assert_eq!(page.code(), Code::Success);
        pages.push(page.entries.len());
        let [LdapControl::SimplePagedResults { size: 3, cookie: next }] = &page.controls[..] else {
            panic!("{:?}", page.controls)
        };
        if next.is_empty() {
            break;
        }
        cookie = next.clone();
    }
    assert_eq!(pages, [2, 1]);
    let control = LdapControl::SimplePagedResults { size: 2, cookie: b"unknown!".to_vec() };
    let refused = client.search_with(people(), vec![control]).await;
    assert_eq!(refused.code(), Code::UnwillingToPerform);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (world, mut client) = bound("").await;
    let mut ids = Vec::new();
    for name in ["ada", "bob", "nobody"].into_iter().cycle().take(150) {
        let search = request(BASE, LdapSearchScope::Subtree, &format!("(uid={name})"), &["uid"]);
        ids.push((client.send(LdapOp::SearchRequest(search), vec![]).await, name));
    }
    for (id, name) in ids {
        let found = client.found(id).await;
        assert_eq!(found.entries.len(), usize::from(name != "nobody"));
    }
    assert_eq!((world.server.counters().searches, world.server.counters().entries), (150, 100));
}

#[tokio::test]
async fn the_client_of_starttls_is_anonymous_again_and_nothing_gets_in_before_it() {
    let world = World::new(company(), "").await;
    let mut client = Client::start_tls(&world, None).await;
    assert_eq!(client.extended("1.3.6.1.4.1.1466.20037", None).await.res.code, Code::OperationsError);
    assert_eq!(client.bind(ADA, "secret-of-ada").await, Code::Success);

    let mut client = Client::plain(world.plain).await;
    let mut both = bytes::BytesMut::new();
    for (msgid, op) in [
        (1, extended("1.3.6.1.4.1.1466.20037", None)),
        (2, LdapOp::SearchRequest(request("", LdapSearchScope::Base, "(objectClass=*)", &[]))),
    ] {
        let message = ldap3_proto::LdapMsg::new(msgid, op);
        tokio_util::codec::Encoder::encode(&mut ldap3_proto::LdapCodec::default(), message, &mut both).unwrap();
    }
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, &both).await.unwrap();
    let LdapOp::ExtendedResponse(response) = client.receive().await.unwrap().op else { panic!() };
    assert_eq!(response.res.code, Code::OperationsError);
    assert!(client.receive().await.is_none(), "the connection is closed");
    let counted = world.server.counters();
    assert_eq!((counted.tls_started, counted.tls_refused), (1, 2));
}

#[tokio::test]
async fn a_bind_with_a_critical_control_that_is_not_served_leaves_nobody() {
    let (world, mut client) = bound("").await;
    assert!(!client.who_am_i().await.is_empty());
    let mut bind = vec![0x30, 24, 2, 1, 70, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0];
    bind.extend_from_slice(&[0xa0, 10, 0x30, 8, 4, 3, b'1', b'.', b'2', 1, 1, 0xff]);
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bind).await.unwrap();
    let LdapOp::BindResponse(response) = client.receive().await.unwrap().op else { panic!() };
    assert_eq!(response.res.code, Code::UnavailableCriticalExtension);
    assert_eq!(client.who_am_i().await, "");
    assert_eq!(world.server.counters().critical_controls, 1);
}

#[tokio::test]
async fn a_password_that_is_no_text_is_wrong_and_the_connection_goes_on() {
    let (world, mut client) = bound("").await;
    let mut bind = vec![0x30, 0, 2, 1, 70, 0x60, 0, 2, 1, 3, 4, ADA.len() as u8];
    bind.extend_from_slice(ADA.as_bytes());
    bind.extend_from_slice(&[0x80, 2, 0xff, 0xfe]);
    (bind[1], bind[6]) = (bind.len() as u8 - 2, bind.len() as u8 - 7);
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bind).await.unwrap();
    let LdapOp::BindResponse(response) = client.receive().await.unwrap().op else { panic!() };
    assert_eq!(response.res.code, Code::InvalidCredentials);
    assert_eq!(client.who_am_i().await, "", "and nobody is bound");
    assert_eq!(world.server.counters().binds_wrong, 1);
}

#[tokio::test]
async fn binds_that_nobody_judged_are_not_recorded_and_unknown_names_are_not_told() {
    let world = World::new(company(), r#", "plain_binds": ["127.0.0.0/8"]"#).await;
    let mut client = Client::plain(world.plain).await;
    assert_eq!(client.bind(&format!("uid=ada,ou=people,{BASE}"), "").await, Code::UnwillingToPerform);
    for name in ["x1", "x2", "x3"] {
        let dn = format!("uid={name},ou=people,{BASE}");
        assert_eq!(client.bind(&dn, "guess").await, Code::InvalidCredentials);
    }
    let lines = world.decisions();
    let users: Vec<_> = lines.iter().filter_map(|line| line.entry.as_ref()).map(|entry| entry.user.as_str()).collect();
    assert!(!users.is_empty() && users.iter().all(|user| user.is_empty()), "{users:?}");
}

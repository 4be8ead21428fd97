//! What filters mean, example by example, and that none of them ever panics.

use std::sync::Arc;

use inventory::entry::{Attribute, Entry, EntryId, Value};
use proptest::prelude::*;

use super::*;

fn entry(dn: &str, attributes: &[(&str, &[&str])]) -> Arc<Entry> {
    let attributes = attributes
        .iter()
        .map(|(name, values)| Attribute((*name).into(), values.iter().map(|value| Value::from(*value)).collect()));
    Arc::new(Entry {
        id: EntryId([7; 16]),
        dn: dn.into(),
        attributes: attributes.collect(),
        source: inventory::entry::DIRECTORY.into(),
    })
}

fn ada() -> Node {
    let entry = entry(
        "uid=ada,ou=People,dc=acme,dc=private",
        &[
            ("objectClass", &["inetOrgPerson", "posixAccount"]),
            ("uid", &["Ada"]),
            ("cn", &["Ada  Lovelace"]),
            ("cn;lang-fr", &["Ada la Comtesse"]),
            ("uidNumber", &["1000"]),
            ("homeDirectory", &["/home/Ada"]),
            ("host", &["dev-mysql02.us-east-1b", "*"]),
            ("memberUid", &["Ada"]),
            ("manager", &["UID=charles, ou=People,dc=acme,dc=private"]),
            ("modifyTimestamp", &["20260102030405Z"]),
            ("telephoneNumber", &["+44 1-23"]),
            ("userAccountControl", &["514"]),
            ("userPassword", &["{SSHA}x"]),
            ("oddName", &["Odd"]),
            ("entryUSN", &["99999"]),
        ],
    );
    Node::new(entry, 17).unwrap()
}

fn truth(text: &str) -> Truth {
    let admits = |_: &Node, place: &str| place == "web1" || place == "web1/sudo";
    let sudo = |_: &Node, host: &str| host == "db1";
    Filter::parse(text).unwrap().evaluate(&ada(), &Context { admits: &admits, sudo: &sudo })
}

#[test]
fn what_matches() {
    for text in [
        "(uid=ADA)",
        "(userid=ada)",
        "(cn=ada lovelace)",
        "(cn=*love*)",
        "(cn=ada l*e)",
        "(cn;lang-fr=ada la comtesse)",
        "(objectClass=POSIXaccount)",
        "(objectClass=person)",
        "(objectClass=top)",
        "(uidNumber=01000)",
        "(uidNumber>=999)",
        "(uidNumber<=1000)",
        "(!(uidNumber=0))",
        "(homeDirectory=/home/Ada)",
        "(homeDirectory:caseIgnoreMatch:=/HOME/ada)",
        "(memberUid=Ada)",
        "(host=\\2a)",
        "(host=*)",
        "(host=dev-mysql*.us-east-1b)",
        "(manager=uid=charles,ou=people,dc=acme,dc=private)",
        "(modifyTimestamp>=20260102030405Z)",
        "(modifyTimestamp>=20260102040404+0100)",
        "(telephoneNumber=+44123)",
        "(userAccountControl:1.2.840.113556.1.4.803:=2)",
        "(ou:dn:=people)",
        "(ou:dn:caseExactMatch:=people)",
        "(oddname=odd)",
        "(&)",
        "(!(|))",
        "(entryUSN=17)",
        "(entryUSN>=17)",
        "(entryUUID=07070707-0707-0707-0707-070707070707)",
        "(entryDN=UID=ada,OU=people,DC=acme,DC=private)",
        "(hasSubordinates=FALSE)",
        "(subschemaSubentry=cn=Subschema)",
        "(gatehouseAccess=web1)",
        "(gatehouseAccess=web1/sudo)",
        "(gatehouseAccess=*)",
        "(gatehouseSudo=db1)",
        "(&(uid=ada)(objectclass=posixAccount)(uid=*)(&(uidNumber=*)(!(uidNumber=0))))",
        "(|(userPassword=*)(uid=ada))",
    ] {
        assert_eq!(truth(text), Truth::True, "{text}");
    }
}

#[test]
fn what_does_not() {
    for text in [
        "(uid=bob)",
        "(homeDirectory=/home/ada)",
        "(memberUid=ada)",
        "(host=*.us-west-1b)",
        "(host=dev-mysql01.us-east-1b)",
        "(cn=love*)",
        "(cn=*ada*ada*)",
        "(uidNumber>=1001)",
        "(uidNumber<=999)",
        "(gidNumber=1)",
        "(unheardOf=x)",
        "(ou=people)",
        "(|)",
        "(!(&))",
        "(entryUSN=99999)",
        "(gatehouseAccess=web2)",
        "(gatehouseSudo=web1)",
        "(cn;lang-de=ada lovelace)",
        "(modifyTimestamp<=20260102030404Z)",
        "(&(userPassword=*)(uid=bob))",
    ] {
        assert_eq!(truth(text), Truth::False, "{text}");
    }
}

#[test]
fn what_cannot_be_told_is_undefined_and_so_is_its_negation() {
    for text in [
        "(userPassword=*)",
        "(userPassword={SSHA}x)",
        "(userPassword=*x*)",
        "(krbPrincipalKey=*)",
        "(uidNumber=many)",
        "(uidNumber=1*)",
        "(manager=charles)",
        "(manager=uid=*)",
        "(modifyTimestamp>=yesterday)",
        "(uid:1.2.3:=ada)",
        "(:caseIgnoreMatch:=ada)",
        "(b ad=x)",
        "(gatehouseAccess>=web1)",
        "(gatehouseAccess=web*)",
        "(&(uid=ada)(userPassword=*))",
        "(|(uid=bob)(userPassword=*))",
    ] {
        assert_eq!(truth(text), Truth::Undefined, "{text}");
        assert_eq!(truth(&format!("(!{text})")), Truth::Undefined, "(!{text})");
    }
}

#[test]
fn single_comparisons_are_filters_too() {
    let value = |filter: Filter| filter.evaluate(&ada(), &Context::NOBODY);
    assert_eq!(value(Filter::equality("memberUid", "Ada")), Truth::True);
    assert_eq!(value(Filter::equality("memberUid", "ada")), Truth::False);
    assert_eq!(value(Filter::equality("userPassword", "{SSHA}x")), Truth::Undefined);
    assert_eq!(value(Filter::presence("cn")), Truth::True);
    assert_eq!(value(Filter::presence("gidNumber")), Truth::False);
    assert_eq!(value(Filter::all()), Truth::True);
}

#[test]
fn only_people_have_access() {
    let group = entry("cn=g,dc=x", &[("objectClass", &["posixGroup"]), ("cn", &["g"])]);
    let ask = Context { admits: &|_, _| true, sudo: &|_, _| true };
    for text in ["(gatehouseAccess=*)", "(gatehouseAccess=web1)", "(gatehouseSudo=web1)"] {
        let value = Filter::parse(text).unwrap().evaluate(&Node::new(group.clone(), 1).unwrap(), &ask);
        assert_eq!(value, Truth::False, "{text}");
    }
}

#[test]
fn deep_and_large_filters_are_refused() {
    let mut deep = LdapFilter::Present("a".into());
    for _ in 0..DEPTH_MAX {
        deep = LdapFilter::Not(Box::new(deep));
    }
    assert_eq!(Filter::compile(&deep), Err(BadFilter::Deep));
    let many = vec![LdapFilter::Present("a".into()); NODES_MAX];
    assert_eq!(Filter::compile(&LdapFilter::Or(many)), Err(BadFilter::Large));
    let stars = LdapSubstringFilter { any: vec!["a".into(); NODES_MAX], ..Default::default() };
    assert_eq!(Filter::compile(&LdapFilter::Substring("a".into(), stars)), Err(BadFilter::Large));
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z;=:é ]{0,6}",
        prop::sample::select(vec![
            "uid",
            "uidNumber",
            "member",
            "modifyTimestamp",
            "entryUUID",
            "entryDN",
            "entryUSN",
            "objectClass",
            "host",
            "hasSubordinates",
            "userPassword",
            "gatehouseAccess",
            "sshPublicKey",
            "telephoneNumber",
            "userCertificate;binary",
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_filter() -> impl Strategy<Value = LdapFilter> {
    let value = || "[ -~é\\u{0}]{0,8}|[0-9]{0,45}|20[0-9]{12}[Z+.-][0-9]{0,4}";
    let leaf = prop_oneof![
        (any_name(), value()).prop_map(|(name, value)| LdapFilter::Equality(name, value)),
        (any_name(), value()).prop_map(|(name, value)| LdapFilter::GreaterOrEqual(name, value)),
        (any_name(), value()).prop_map(|(name, value)| LdapFilter::LessOrEqual(name, value)),
        any_name().prop_map(LdapFilter::Present),
        (any_name(), prop::option::of(value()), prop::collection::vec(value(), 0..3), prop::option::of(value()))
            .prop_map(|(name, initial, any, final_)| LdapFilter::Substring(
                name,
                LdapSubstringFilter { initial, any, final_ }
            )),
        (prop::option::of(any_name()), prop::option::of(any_name()), value(), any::<bool>()).prop_map(
            |(type_, matching_rule, match_value, dn_attributes)| {
                LdapFilter::Extensible(LdapMatchingRuleAssertion { matching_rule, type_, match_value, dn_attributes })
            }
        ),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(LdapFilter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(LdapFilter::Or),
            inner.prop_map(|part| LdapFilter::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn any_filter_has_a_value_for_any_entry(
        filter in any_filter(),
        attributes in prop::collection::vec((any_name(), prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..3)), 0..6),
    ) {
        let attributes = attributes.into_iter().map(|(name, values)| {
            Attribute(name.into(), values.into_iter().map(Value::from).collect())
        });
        let entry = Entry { id: EntryId([1; 16]), dn: "cn=x".into(), attributes: attributes.collect(), source: "".into() };
        let node = Node::new(Arc::new(entry), 1).unwrap();
        let value = Filter::compile(&filter).unwrap().evaluate(&node, &Context::NOBODY);
        let negated = Filter::compile(&LdapFilter::Not(Box::new(filter))).unwrap().evaluate(&node, &Context::NOBODY);
        let expected = match value {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Undefined => Truth::Undefined,
        };
        prop_assert_eq!(negated, expected);
    }

    #[test]
    fn any_text_is_a_filter_or_refused(text in "[(&|!)a-z=*<>~:\\\\0-9é ]{0,60}") {
        if let Ok(filter) = Filter::parse(&text) {
            filter.evaluate(&ada(), &Context::NOBODY);
        }
    }
}

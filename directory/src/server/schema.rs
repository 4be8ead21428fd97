//! The subschema (RFC 4512 section 4.2): the attribute types and object classes that directories of accounts use.
//!
//! Nothing is checked against it. It is there for clients that read a schema when they connect, so it is complete in
//! itself: every class names only attributes, and every attribute only syntaxes and rules, that are listed too. OIDs are
//! those of RFC 4512, 4519, 4524, 2798, 2307, 4530, 5020, of OpenSSH-LPK and of sudo; our own lie below [`ARC`].

use std::sync::LazyLock;

use super::fixed::{Fixed, Kind};

/// The arc of our own definitions: 2.25 and a UUID (X.667).
const ARC: &str = "2.25.217797655243207277653374586366726280808";

/// Syntaxes (RFC 4517 section 3.3, RFC 4530), each with its equality rule and, where there is one, its ordering rule.
const SYNTAXES: [(&str, &str, &str, &str, &str); 14] = [
    ("dir", "1.3.6.1.4.1.1466.115.121.1.15", "Directory String", "caseIgnoreMatch", ""),
    ("exact", "1.3.6.1.4.1.1466.115.121.1.15", "Directory String", "caseExactMatch", ""),
    ("ia5", "1.3.6.1.4.1.1466.115.121.1.26", "IA5 String", "caseIgnoreIA5Match", ""),
    ("ia5exact", "1.3.6.1.4.1.1466.115.121.1.26", "IA5 String", "caseExactIA5Match", ""),
    ("int", "1.3.6.1.4.1.1466.115.121.1.27", "INTEGER", "integerMatch", "integerOrderingMatch"),
    ("dn", "1.3.6.1.4.1.1466.115.121.1.12", "DN", "distinguishedNameMatch", ""),
    ("oid", "1.3.6.1.4.1.1466.115.121.1.38", "OID", "objectIdentifierMatch", ""),
    ("octets", "1.3.6.1.4.1.1466.115.121.1.40", "Octet String", "octetStringMatch", ""),
    (
        "time",
        "1.3.6.1.4.1.1466.115.121.1.24",
        "Generalized Time",
        "generalizedTimeMatch",
        "generalizedTimeOrderingMatch",
    ),
    ("bool", "1.3.6.1.4.1.1466.115.121.1.7", "Boolean", "booleanMatch", ""),
    ("tel", "1.3.6.1.4.1.1466.115.121.1.50", "Telephone Number", "telephoneNumberMatch", ""),
    ("uuid", "1.3.6.1.1.16.1", "UUID", "uuidMatch", "uuidOrderingMatch"),
    ("jpeg", "1.3.6.1.4.1.1466.115.121.1.28", "JPEG", "", ""),
    ("text", "1.3.6.1.4.1.1466.115.121.1.3", "Attribute Type Description", "", ""),
];

/// Matching rules (RFC 4517 section 4.2, RFC 4530): OID, name, syntax.
const RULES: [(&str, &str, &str); 14] = [
    ("2.5.13.0", "objectIdentifierMatch", "oid"),
    ("2.5.13.1", "distinguishedNameMatch", "dn"),
    ("2.5.13.2", "caseIgnoreMatch", "dir"),
    ("2.5.13.5", "caseExactMatch", "dir"),
    ("2.5.13.13", "booleanMatch", "bool"),
    ("2.5.13.14", "integerMatch", "int"),
    ("2.5.13.15", "integerOrderingMatch", "int"),
    ("2.5.13.17", "octetStringMatch", "octets"),
    ("2.5.13.20", "telephoneNumberMatch", "tel"),
    ("2.5.13.27", "generalizedTimeMatch", "time"),
    ("2.5.13.28", "generalizedTimeOrderingMatch", "time"),
    ("1.3.6.1.4.1.1466.109.114.1", "caseExactIA5Match", "ia5"),
    ("1.3.6.1.4.1.1466.109.114.2", "caseIgnoreIA5Match", "ia5"),
    ("1.3.6.1.1.16.2", "uuidMatch", "uuid"),
];

/// Attribute types: OID (`.N` below [`ARC`]), names, syntax. `1` behind the syntax: single-valued. `+`: operational.
const ATTRIBUTES: &str = "
2.5.4.0 objectClass oid
2.5.4.3 cn,commonName dir
2.5.4.4 sn,surname dir
2.5.4.6 c,countryName dir1
2.5.4.7 l,localityName dir
2.5.4.8 st,stateOrProvinceName dir
2.5.4.9 street,streetAddress dir
2.5.4.10 o,organizationName dir
2.5.4.11 ou,organizationalUnitName dir
2.5.4.12 title dir
2.5.4.13 description dir
2.5.4.20 telephoneNumber tel
2.5.4.31 member dn
2.5.4.32 owner dn
2.5.4.33 roleOccupant dn
2.5.4.34 seeAlso dn
2.5.4.35 userPassword octets
2.5.4.36 userCertificate octets
2.5.4.42 givenName,gn dir
2.5.4.43 initials dir
2.5.4.50 uniqueMember dn
0.9.2342.19200300.100.1.1 uid,userid dir
0.9.2342.19200300.100.1.3 mail,rfc822Mailbox ia5
0.9.2342.19200300.100.1.9 host dir
0.9.2342.19200300.100.1.10 manager dn
0.9.2342.19200300.100.1.25 dc,domainComponent ia51
0.9.2342.19200300.100.1.41 mobile,mobileTelephoneNumber tel
0.9.2342.19200300.100.1.60 jpegPhoto jpeg
2.16.840.1.113730.3.1.2 departmentNumber dir
2.16.840.1.113730.3.1.3 employeeNumber dir1
2.16.840.1.113730.3.1.4 employeeType dir
2.16.840.1.113730.3.1.39 preferredLanguage dir1
2.16.840.1.113730.3.1.241 displayName dir1
1.3.6.1.1.1.1.0 uidNumber int1
1.3.6.1.1.1.1.1 gidNumber int1
1.3.6.1.1.1.1.2 gecos ia51
1.3.6.1.1.1.1.3 homeDirectory ia5exact1
1.3.6.1.1.1.1.4 loginShell ia5exact1
1.3.6.1.1.1.1.5 shadowLastChange int1
1.3.6.1.1.1.1.6 shadowMin int1
1.3.6.1.1.1.1.7 shadowMax int1
1.3.6.1.1.1.1.8 shadowWarning int1
1.3.6.1.1.1.1.9 shadowInactive int1
1.3.6.1.1.1.1.10 shadowExpire int1
1.3.6.1.1.1.1.11 shadowFlag int1
1.3.6.1.1.1.1.12 memberUid ia5exact
1.3.6.1.1.1.1.13 memberNisNetgroup ia5exact
1.3.6.1.1.1.1.14 nisNetgroupTriple ia5
1.3.6.1.1.1.1.19 ipHostNumber ia5
1.3.6.1.1.1.1.26 nisMapName ia5exact
1.3.6.1.1.1.1.27 nisMapEntry ia5exact1
1.3.6.1.1.1.1.31 automountMapName ia5exact1
1.3.6.1.1.1.1.32 automountKey ia5exact1
1.3.6.1.1.1.1.33 automountInformation ia5exact1
1.3.6.1.4.1.5322.17.2.1 authorizedService ia5
1.3.6.1.4.1.24552.500.1.1.1.13 sshPublicKey octets
1.3.6.1.4.1.15953.9.1.1 sudoUser ia5exact
1.3.6.1.4.1.15953.9.1.2 sudoHost ia5exact
1.3.6.1.4.1.15953.9.1.3 sudoCommand ia5exact
1.3.6.1.4.1.15953.9.1.4 sudoRunAs ia5exact
1.3.6.1.4.1.15953.9.1.5 sudoOption ia5exact
1.3.6.1.4.1.15953.9.1.6 sudoRunAsUser ia5exact
1.3.6.1.4.1.15953.9.1.7 sudoRunAsGroup ia5exact
1.3.6.1.4.1.15953.9.1.8 sudoNotBefore time
1.3.6.1.4.1.15953.9.1.9 sudoNotAfter time
1.3.6.1.4.1.15953.9.1.10 sudoOrder int
2.5.18.1 createTimestamp time1+
2.5.18.2 modifyTimestamp time1+
2.5.18.3 creatorsName dn1+
2.5.18.4 modifiersName dn1+
2.5.18.9 hasSubordinates bool1+
2.5.18.10 subschemaSubentry dn1+
2.5.21.4 matchingRules text+
2.5.21.5 attributeTypes text+
2.5.21.6 objectClasses text+
2.5.21.9 structuralObjectClass oid1+
1.3.6.1.1.4 vendorName exact1+
1.3.6.1.1.5 vendorVersion exact1+
1.3.6.1.1.16.4 entryUUID uuid1+
1.3.6.1.1.20 entryDN dn1+
1.3.6.1.4.1.1466.101.120.5 namingContexts dn+
1.3.6.1.4.1.1466.101.120.7 supportedExtension oid+
1.3.6.1.4.1.1466.101.120.13 supportedControl oid+
1.3.6.1.4.1.1466.101.120.14 supportedSASLMechanisms dir+
1.3.6.1.4.1.1466.101.120.15 supportedLDAPVersion int+
1.3.6.1.4.1.1466.101.120.16 ldapSyntaxes text+
1.3.6.1.4.1.4203.1.3.5 supportedFeatures oid+
1.2.840.113556.1.4.484 defaultNamingContext dn1+
.1 gatehouseAccess dir+
.2 gatehouseSudo dir+
.3 entryUSN int1+
.4 lastUSN int1+
";

/// Object classes: OID, name, superior, kind (`s`tructural, `x` auxiliary, `a`bstract), MUST, MAY.
const CLASSES: &str = "
2.5.6.0 top - a objectClass -
2.5.6.2 country top s c description
2.5.6.3 locality top s - l,st,street,seeAlso,description
2.5.6.4 organization top s o description,l,st,street,telephoneNumber,seeAlso,userPassword
2.5.6.5 organizationalUnit top s ou description,l,st,street,telephoneNumber,seeAlso,userPassword
2.5.6.6 person top s sn,cn userPassword,telephoneNumber,seeAlso,description
2.5.6.7 organizationalPerson person s - title,ou,st,l,street
2.5.6.8 organizationalRole top s cn roleOccupant,seeAlso,telephoneNumber,ou,st,l,description
2.5.6.9 groupOfNames top s cn,member owner,seeAlso,description,o,ou
2.5.6.17 groupOfUniqueNames top s cn,uniqueMember owner,seeAlso,description,o,ou
2.16.840.1.113730.3.2.2 inetOrgPerson organizationalPerson s - \
displayName,givenName,initials,mail,mobile,manager,uid,employeeNumber,employeeType,departmentNumber,preferredLanguage,\
jpegPhoto,userCertificate,o
0.9.2342.19200300.100.4.5 account top s uid description,seeAlso,l,o,ou,host
0.9.2342.19200300.100.4.13 domain top s dc description,o,l,st,street,seeAlso,telephoneNumber,userPassword
0.9.2342.19200300.100.4.19 simpleSecurityObject top x userPassword -
1.3.6.1.4.1.1466.344 dcObject top x dc -
1.3.6.1.4.1.1466.101.120.111 extensibleObject top x - -
1.3.6.1.1.1.2.0 posixAccount top x cn,uid,uidNumber,gidNumber,homeDirectory userPassword,loginShell,gecos,description
1.3.6.1.1.1.2.1 shadowAccount top x uid userPassword,shadowLastChange,shadowMin,shadowMax,shadowWarning,\
shadowInactive,shadowExpire,shadowFlag,description
1.3.6.1.1.1.2.2 posixGroup top x cn,gidNumber userPassword,memberUid,description
1.3.6.1.1.1.2.6 ipHost top x cn,ipHostNumber l,description,manager
1.3.6.1.1.1.2.8 nisNetgroup top s cn nisNetgroupTriple,memberNisNetgroup,description
1.3.6.1.1.1.2.9 nisMap top s nisMapName description
1.3.6.1.1.1.2.10 nisObject top s cn,nisMapEntry,nisMapName description
1.3.6.1.1.1.2.16 automountMap top s automountMapName description
1.3.6.1.1.1.2.17 automount top s automountKey,automountInformation description
1.3.6.1.4.1.5322.17.1.1 authorizedServiceObject top x - authorizedService
1.3.6.1.4.1.5322.17.1.2 hostObject top x - host
1.3.6.1.4.1.24552.500.1.1.2.0 ldapPublicKey top x - sshPublicKey,uid
1.3.6.1.4.1.15953.9.2.1 sudoRole top s cn sudoUser,sudoHost,sudoCommand,sudoRunAs,sudoRunAsUser,sudoRunAsGroup,\
sudoOption,sudoOrder,sudoNotBefore,sudoNotAfter,description
2.5.20.1 subschema top x - attributeTypes,objectClasses,matchingRules,ldapSyntaxes
";

static SUBSCHEMA: LazyLock<Fixed> = LazyLock::new(make);

/// The subschema entry.
pub(super) fn subschema() -> &'static Fixed {
    &SUBSCHEMA
}

fn make() -> Fixed {
    let mut entry = Fixed::new(super::SUBSCHEMA);
    let add = |entry: &mut Fixed, name, kind, values: &[String]| {
        entry.add(name, kind, values.iter().map(String::as_str));
    };
    entry.add("objectClass", Kind::User, ["top", "subschema", "extensibleObject"]);
    entry.add("cn", Kind::User, ["subschema"]);
    entry.add("structuralObjectClass", Kind::Operational, ["subschema"]);
    entry.add("subschemaSubentry", Kind::Operational, [super::SUBSCHEMA]);
    let mut syntaxes: Vec<String> =
        SYNTAXES.iter().map(|(_, oid, name, ..)| format!("( {oid} DESC '{name}' )")).collect();
    syntaxes.dedup();
    add(&mut entry, "ldapSyntaxes", Kind::Operational, &syntaxes);
    let rules = RULES.iter().map(|(oid, name, key)| format!("( {oid} NAME '{name}' SYNTAX {} )", syntax(key).1));
    add(&mut entry, "matchingRules", Kind::Operational, &rules.collect::<Vec<_>>());
    let attributes: Vec<String> = ATTRIBUTES.lines().filter_map(attribute).collect();
    add(&mut entry, "attributeTypes", Kind::Operational, &attributes);
    let classes: Vec<String> = CLASSES.lines().filter_map(class).collect();
    add(&mut entry, "objectClasses", Kind::Operational, &classes);
    entry
}

fn syntax(key: &str) -> (&'static str, &'static str, &'static str, &'static str, &'static str) {
    SYNTAXES.iter().find(|(known, ..)| *known == key).copied().unwrap_or(("", "", "", "", ""))
}

fn oid(text: &str) -> String {
    if text.starts_with('.') { format!("{ARC}{text}") } else { text.to_owned() }
}

fn names(list: &str) -> String {
    match list.split_once(',') {
        None => format!("'{list}'"),
        Some(_) => format!("( {} )", list.split(',').map(|name| format!("'{name}'")).collect::<Vec<_>>().join(" ")),
    }
}

fn attribute(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let (id, list, kind) = (words.next()?, words.next()?, words.next()?);
    let (kind, operational) = kind.strip_suffix('+').map_or((kind, false), |kind| (kind, true));
    // No key of a syntax ends in a digit but ia5, whose single-valued form is ia51.
    let (kind, single) = kind.strip_suffix('1').map_or((kind, false), |kind| (kind, true));
    let (_, syntax, _, equality, ordering) = syntax(kind);
    let mut text = format!("( {} NAME {}", oid(id), names(list));
    for (word, rule) in [(" EQUALITY ", equality), (" ORDERING ", ordering)] {
        if !rule.is_empty() && RULES.iter().any(|(_, name, _)| *name == rule) {
            text += word;
            text += rule;
        }
    }
    text += " SYNTAX ";
    text += syntax;
    if single {
        text += " SINGLE-VALUE";
    }
    text += if operational { " NO-USER-MODIFICATION USAGE directoryOperation )" } else { " )" };
    Some(text)
}

fn class(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let (id, name, superior) = (words.next()?, words.next()?, words.next()?);
    let (kind, must, may) = (words.next()?, words.next()?, words.next()?);
    let mut text = format!("( {} NAME '{name}'", oid(id));
    if superior != "-" {
        text += &format!(" SUP {superior}");
    }
    text += match kind {
        "a" => " ABSTRACT",
        "x" => " AUXILIARY",
        _ => " STRUCTURAL",
    };
    for (word, list) in [("MUST", must), ("MAY", may)] {
        if list != "-" {
            text += &format!(" {word} ( {} )", list.replace(',', " $ "));
        }
    }
    Some(text + " )")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_schema_is_complete_in_itself() {
        let entry = subschema();
        let attributes = entry.values("attributeTypes").unwrap();
        let classes = entry.values("objectClasses").unwrap();
        assert_eq!(attributes.len(), ATTRIBUTES.lines().filter(|line| !line.is_empty()).count());
        assert_eq!(classes.len(), CLASSES.lines().filter(|line| !line.is_empty()).count());
        let known: HashSet<&str> =
            ATTRIBUTES.lines().filter_map(|line| line.split(' ').nth(1)).flat_map(|names| names.split(',')).collect();
        for line in CLASSES.lines().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words.len(), 6, "{line}");
            let listed = words[4..].iter().flat_map(|list| list.split(','));
            listed.filter(|name| *name != "-").for_each(|name| assert!(known.contains(name), "{name} of {line}"));
        }
        for text in attributes {
            assert!(!text.contains("SYNTAX  ") && !text.contains("SYNTAX )"), "{text}");
        }
        let oids: HashSet<&str> = attributes.iter().chain(classes).filter_map(|text| text.split(' ').nth(1)).collect();
        assert_eq!(oids.len(), attributes.len() + classes.len(), "no OID is given twice");
        assert!(
            attributes.contains(
                &"( 1.3.6.1.1.1.1.0 NAME 'uidNumber' EQUALITY integerMatch ORDERING integerOrderingMatch \
              SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )"
                    .to_owned()
            )
        );
        assert!(classes.contains(&"( 2.5.6.0 NAME 'top' ABSTRACT MUST ( objectClass ) )".to_owned()));
    }
}

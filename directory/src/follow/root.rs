//! What a server says of itself: the rootDSE (RFC 4512 section 5.1) and the contextCSN of its suffix.

use std::time::Duration;

use inventory::{Attribute, Value};

use super::{
    connect::Connection,
    control::{PAGED, SYNC_REQUEST},
    cookie::Csn,
    names, search,
};

/// What matters of the rootDSE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Root {
    /// It has the sync control of RFC 4533.
    pub(super) sync: bool,
    /// It has paged results (RFC 2696).
    pub(super) paged: bool,
    /// It is 389-ds, to which a cookie of OpenLDAP must never be sent (389-ds-base#5418).
    pub(super) is_389: bool,
    /// Its suffix that our base lies in; the base itself if it does not tell.
    pub(super) suffix: String,
}

/// Asks for the rootDSE.
pub(super) async fn read(connection: &mut Connection, base: &str, limit: Duration) -> Result<Root, String> {
    let attributes =
        search::read_base(connection, "", &["supportedControl", "namingContexts", "vendorName"], limit).await?;
    Ok(judge(&attributes, base))
}

fn judge(attributes: &[Attribute], base: &str) -> Root {
    let texts = |name: &str| {
        let all = attributes.iter().filter(move |Attribute(n, _)| n.eq_ignore_ascii_case(name));
        all.flat_map(|Attribute(_, values)| values).filter_map(Value::text).map(str::to_owned).collect::<Vec<_>>()
    };
    let controls = texts("supportedControl");
    let has = |oid: &str| controls.iter().any(|control| control == oid);
    let is_389 = texts("vendorName").iter().any(|vendor| vendor.contains("389"));
    let normal = names::normal(base);
    let holds = |suffix: &String| {
        let suffix = names::normal(suffix);
        !suffix.is_empty() && (normal == suffix || normal.ends_with(&format!(",{suffix}")))
    };
    let suffix = texts("namingContexts").into_iter().filter(holds).max_by_key(String::len);
    Root { sync: has(SYNC_REQUEST), paged: has(PAGED), is_389, suffix: suffix.unwrap_or_else(|| base.to_owned()) }
}

/// The CSNs of the last change of each server, as this server knows them; none where it keeps none or hides them.
pub(super) async fn context_csns(
    connection: &mut Connection,
    suffix: &str,
    limit: Duration,
) -> Result<Vec<Csn>, String> {
    let attributes = search::read_base(connection, suffix, &["contextCSN"], limit).await?;
    let values = attributes.iter().filter(|Attribute(name, _)| name.eq_ignore_ascii_case("contextCSN"));
    Ok(values.flat_map(|Attribute(_, values)| values).filter_map(|v| v.text().and_then(Csn::parse)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_what_it_can() {
        let attributes = [
            Attribute("vendorName".into(), ["389 Project".into()].into()),
            Attribute("supportedcontrol".into(), [SYNC_REQUEST.into(), "1.2.3".into()].into()),
            Attribute(
                "namingContexts".into(),
                ["dc=private".into(), "dc=Acme,dc=private".into(), "dc=b".into()].into(),
            ),
        ];
        let root = judge(&attributes, "ou=people, dc=acme,dc=private");
        assert_eq!(root, Root { sync: true, paged: false, is_389: true, suffix: "dc=Acme,dc=private".into() });
        assert_eq!(judge(&[], "dc=acme"), Root { sync: false, paged: false, is_389: false, suffix: "dc=acme".into() });
    }
}

//! The rootDSE (RFC 4512 section 5.1): what clients ask first, mostly before they bind.
//!
//! `lastUSN` with `entryUSN` on entries is how SSSD notices changes without missing one in the same second; it takes
//! the pair for a server of FreeIPA's kind.

use super::fixed::{Fixed, Kind};

/// Object identifiers of the controls that work, and only of those: clients use what is listed.
pub(super) const CONTROLS: [&str; 3] = [super::PAGED, super::PASSWORD_POLICY, super::MANAGE_DSA_IT];
/// Object identifiers of the extended operations that work, StartTLS aside.
pub(super) const EXTENSIONS: [&str; 2] = [super::WHO_AM_I, super::CANCEL];
/// All operational attributes by `+` (RFC 3673), absolute true and false filters (RFC 4526).
const FEATURES: [&str; 2] = ["1.3.6.1.4.1.4203.1.5.1", "1.3.6.1.4.1.4203.1.5.3"];

/// What the rootDSE depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// DN below which everything served lies.
    pub(super) base: &'a str,
    /// Serial of the state.
    pub(super) last_usn: u64,
    /// Whether StartTLS is possible on this connection.
    pub(super) start_tls: bool,
    /// Whether clients are known by certificates.
    pub(super) external: bool,
    /// The extended operation for questions of instances.
    pub(super) ask: &'a str,
}

/// The rootDSE.
pub(super) fn root_dse(about: About<'_>) -> Fixed {
    let mut root = Fixed::new("");
    root.add("objectClass", Kind::User, ["top"]);
    root.add("structuralObjectClass", Kind::Operational, ["top"]);
    root.add("namingContexts", Kind::Operational, [about.base]);
    root.add("defaultNamingContext", Kind::Operational, [about.base]);
    root.add("supportedLDAPVersion", Kind::Operational, ["3"]);
    root.add("supportedControl", Kind::Operational, CONTROLS);
    let start_tls = about.start_tls.then_some(super::START_TLS);
    root.add("supportedExtension", Kind::Operational, EXTENSIONS.into_iter().chain([about.ask]).chain(start_tls));
    root.add("supportedFeatures", Kind::Operational, FEATURES);
    root.add("supportedSASLMechanisms", Kind::Operational, about.external.then_some("EXTERNAL"));
    root.add("subschemaSubentry", Kind::Operational, [super::SUBSCHEMA]);
    root.add("lastUSN", Kind::Operational, [about.last_usn.to_string().as_str()]);
    root.add("vendorName", Kind::Operational, ["gatehouse"]);
    root.add("vendorVersion", Kind::Operational, [env!("CARGO_PKG_VERSION")]);
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_works_is_listed() {
        let about = About { base: "dc=acme", last_usn: 7, start_tls: false, external: false, ask: "2.25.1" };
        let root = root_dse(about);
        assert!(root.values("supportedSASLMechanisms").is_none());
        assert!(!root.values("supportedExtension").unwrap().contains(&super::super::START_TLS.into()));
        assert_eq!(root.values("lastUSN").unwrap(), ["7"]);
        let root = root_dse(About { start_tls: true, external: true, ..about });
        assert_eq!(root.values("supportedSASLMechanisms").unwrap(), ["EXTERNAL"]);
        assert!(root.values("supportedExtension").unwrap().contains(&super::super::START_TLS.into()));
    }
}

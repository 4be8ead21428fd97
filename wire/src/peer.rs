//! Who a client is, by its certificate.
//!
//! The names are those of the subject alternative name (RFC 6125 section 6.4); the common name counts
//! only for a certificate without any DNS name there, as old private authorities issue them. The
//! certificate was verified before; here it is only read, and a damaged one has no names.

use rustls::pki_types::CertificateDer;

/// Most names that are taken from one certificate.
pub const NAMES_MAX: usize = 16;

/// id-at-commonName, 2.5.4.3 (RFC 5280 appendix A), in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The DNS names of a certificate, wildcards left out; else its common name.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let names: Vec<&str> = certificate.valid_dns_names().take(NAMES_MAX).collect();
    if names.is_empty() {
        return common_name(certificate.subject()).map(str::to_owned).into_iter().collect();
    }
    names.into_iter().filter(|name| !name.contains('*')).map(str::to_owned).collect()
}

/// The last common name of a Name (RFC 5280 section 4.1.2.4) without its outer SEQUENCE: the most specific one.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    let mut found = None;
    while let Some((0x31, mut set, rest)) = element(subject) {
        subject = rest;
        while let Some((0x30, pair, others)) = element(set) {
            set = others;
            let Some((0x06, kind, value)) = element(pair) else { continue };
            // UTF8String, PrintableString, IA5String: the ones that are ASCII or UTF-8 as they stand.
            if let (COMMON_NAME, Some((0x0c | 0x13 | 0x16, text, _))) = (kind, element(value)) {
                found = std::str::from_utf8(text).ok();
            }
        }
    }
    found
}

/// Tag, content and what follows of the first DER element with a tag of one octet and a length of at most two.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
        0x82 => rest.split_first_chunk().map(|(&length, rest)| (usize::from(u16::from_be_bytes(length)), rest))?,
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn issued(dns: &[&str], common: Option<&str>) -> Vec<String> {
        let mut params = CertificateParams::new(dns.iter().map(|name| name.to_string()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        names(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn dns_names_count_and_the_common_name_only_without_them() {
        assert_eq!(issued(&["db1.use1.acme.private", "db1"], Some("x")), ["db1.use1.acme.private", "db1"]);
        assert_eq!(issued(&[], Some("db1.use1.acme.private")), ["db1.use1.acme.private"]);
        assert!(issued(&["*.acme.private"], Some("db1")).is_empty(), "a wildcard is no host");
        assert!(issued(&[], None).is_empty());
    }

    #[test]
    fn damaged_certificates_have_no_names() {
        assert!(names(&CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff])).is_empty());
        for end in 0..12 {
            let subject = [0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, b'a'];
            assert_eq!(common_name(&subject[..end]), None);
        }
    }
}

//! Filters as text (RFC 4515).
//!
//! Octets may be escaped as `\xx`; together they must be UTF-8. A filter without its outer parentheses is read as well,
//! because configurations of pam_ldap and of libldap's programs have it so. The depth is limited while reading.

use ldap3_proto::proto::{LdapFilter, LdapMatchingRuleAssertion, LdapSubstringFilter};

use super::{BadFilter, DEPTH_MAX, NODES_MAX};

/// Most octets of a filter as text.
pub const TEXT_OCTETS_MAX: usize = 64 * 1024;

/// Reads a filter without compiling it.
///
/// # Errors
/// What is wrong with it, and at which octet.
pub fn read(text: &str) -> Result<LdapFilter, BadFilter> {
    if text.len() > TEXT_OCTETS_MAX {
        return Err(BadFilter::Long);
    }
    let mut reader = Reader { text, at: 0, nodes: 0 };
    reader.skip_spaces();
    let filter = if reader.peek() == Some(b'(') { reader.filter(DEPTH_MAX)? } else { reader.component(DEPTH_MAX)? };
    reader.skip_spaces();
    if reader.at < text.len() { Err(reader.fault("text goes on behind the filter's end")) } else { Ok(filter) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self, why: &'static str) -> BadFilter {
        BadFilter::Text { at: self.at, why }
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// `( component )`.
    fn filter(&mut self, depth: usize) -> Result<LdapFilter, BadFilter> {
        if !self.take(b'(') {
            return Err(self.fault("a filter begins with a parenthesis"));
        }
        let filter = self.component(depth)?;
        if self.take(b')') { Ok(filter) } else { Err(self.fault("a parenthesis is not closed")) }
    }

    fn component(&mut self, depth: usize) -> Result<LdapFilter, BadFilter> {
        let depth = depth.checked_sub(1).ok_or(BadFilter::Deep)?;
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(BadFilter::Large);
        }
        self.skip_spaces();
        if self.take(b'&') {
            return self.list(depth).map(LdapFilter::And);
        }
        if self.take(b'|') {
            return self.list(depth).map(LdapFilter::Or);
        }
        if self.take(b'!') {
            self.skip_spaces();
            let inner = self.filter(depth)?;
            self.skip_spaces();
            return Ok(LdapFilter::Not(Box::new(inner)));
        }
        self.item()
    }

    fn list(&mut self, depth: usize) -> Result<Vec<LdapFilter>, BadFilter> {
        let mut filters = Vec::new();
        loop {
            self.skip_spaces();
            if self.peek() != Some(b'(') {
                return Ok(filters);
            }
            filters.push(self.filter(depth)?);
        }
    }

    fn item(&mut self) -> Result<LdapFilter, BadFilter> {
        let rest = self.text.get(self.at..).unwrap_or("");
        let length = rest.find(['=', '(', ')']).unwrap_or(rest.len());
        let (left, _) = rest.split_at_checked(length).unwrap_or((rest, ""));
        self.at += length;
        if !self.take(b'=') {
            return Err(self.fault("an equals sign is missing"));
        }
        let (left, operator) = match left.as_bytes().last() {
            Some(sign @ (b'~' | b'>' | b'<' | b':')) => (left.get(..left.len() - 1).unwrap_or(""), *sign),
            _ => (left, b'='),
        };
        let name = left.trim().to_owned();
        if operator == b'=' {
            return self.pieces(name);
        }
        let value = self.value()?;
        if self.peek() == Some(b'*') {
            return Err(self.fault("a star stands in a comparison; write it \\2a"));
        }
        match operator {
            b'~' => Ok(LdapFilter::Approx(name, value)),
            b'>' => Ok(LdapFilter::GreaterOrEqual(name, value)),
            b'<' => Ok(LdapFilter::LessOrEqual(name, value)),
            _ => self.extensible(&name, value),
        }
    }

    /// Presence, equality or substrings: what follows a plain equals sign.
    fn pieces(&mut self, name: String) -> Result<LdapFilter, BadFilter> {
        let first = self.value()?;
        if !self.take(b'*') {
            return Ok(LdapFilter::Equality(name, first));
        }
        let mut any = Vec::new();
        let last = loop {
            let piece = self.value()?;
            if !self.take(b'*') {
                break piece;
            }
            if !piece.is_empty() {
                any.push(piece);
            }
        };
        let some = |piece: String| Some(piece).filter(|piece| !piece.is_empty());
        let pieces = LdapSubstringFilter { initial: some(first), any, final_: some(last) };
        if pieces == LdapSubstringFilter::default() {
            return Ok(LdapFilter::Present(name));
        }
        Ok(LdapFilter::Substring(name, pieces))
    }

    fn extensible(&self, left: &str, match_value: String) -> Result<LdapFilter, BadFilter> {
        let mut parts = left.split(':').map(str::trim);
        let type_ = parts.next().filter(|name| !name.is_empty()).map(str::to_owned);
        let mut rest = parts.next();
        let dn_attributes = rest.is_some_and(|part| part.eq_ignore_ascii_case("dn"));
        if dn_attributes {
            rest = parts.next();
        }
        let matching_rule = rest.filter(|rule| !rule.is_empty()).map(str::to_owned);
        if parts.next().is_some() || (type_.is_none() && matching_rule.is_none()) {
            return Err(self.fault("an extensible match is written attribute:dn:rule:=value"));
        }
        Ok(LdapFilter::Extensible(LdapMatchingRuleAssertion { matching_rule, type_, match_value, dn_attributes }))
    }

    /// Text up to a star or the end of the item, without escapes.
    fn value(&mut self) -> Result<String, BadFilter> {
        let mut octets = Vec::new();
        loop {
            match self.peek() {
                None | Some(b'*' | b')') => break,
                Some(b'(') => return Err(self.fault("a parenthesis stands in a value; write it \\28")),
                Some(0) => return Err(self.fault("a zero octet stands in a value; write it \\00")),
                Some(b'\\') => octets.push(self.escape()?),
                Some(byte) => {
                    octets.push(byte);
                    self.at += 1;
                }
            }
        }
        String::from_utf8(octets).map_err(|_| self.fault("a value is no UTF-8"))
    }

    fn escape(&mut self) -> Result<u8, BadFilter> {
        let digits = self.text.get(self.at + 1..self.at + 3).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let octet = octet.ok_or_else(|| self.fault("a backslash stands before two hexadecimal digits"))?;
        self.at += 3;
        Ok(octet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equality(name: &str, value: &str) -> LdapFilter {
        LdapFilter::Equality(name.into(), value.into())
    }

    #[test]
    fn filters_are_read_as_rfc_4515_writes_them() {
        assert_eq!(read("(cn=Babs Jensen)"), Ok(equality("cn", "Babs Jensen")));
        assert_eq!(read("(o=Parens R Us \\28for all your parenthetical needs\\29)").map(|_| ()), Ok(()));
        assert_eq!(read("(host=\\2a)"), Ok(equality("host", "*")));
        assert_eq!(read("(cn=*)"), Ok(LdapFilter::Present("cn".into())));
        assert_eq!(read("(cn=\\c3\\89)"), Ok(equality("cn", "É")));
        assert_eq!(read("(&)"), Ok(LdapFilter::And(vec![])));
        assert_eq!(read(" ( & (a=b) ( | (c>=1)(d~=x) ) (!(e<=2)) ) ").map(|_| ()), Ok(()));
        let pieces = LdapSubstringFilter { initial: Some("a".into()), any: vec!["b".into()], final_: None };
        assert_eq!(read("(cn=a*b*)"), Ok(LdapFilter::Substring("cn".into(), pieces)));
        let Ok(LdapFilter::Extensible(rule)) = read("(cn:dn:2.4.6.8.10:=Dino)") else { panic!() };
        assert_eq!((rule.dn_attributes, rule.matching_rule.as_deref()), (true, Some("2.4.6.8.10")));
    }

    #[test]
    fn outer_parentheses_may_be_missing() {
        assert_eq!(read("uid=ada"), Ok(equality("uid", "ada")));
        assert_eq!(read("&(a=b)(c=d)"), Ok(LdapFilter::And(vec![equality("a", "b"), equality("c", "d")])));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_place() {
        for (text, at) in
            [("", 0), ("(", 1), ("(a=b", 4), ("(a=b))", 5), ("(a)", 2), ("(a=\\2)", 3), ("(a=(b)", 3), ("(a>=x*)", 5)]
        {
            assert!(
                matches!(read(text), Err(BadFilter::Text { at: found, .. }) if found == at),
                "{text} {:?}",
                read(text)
            );
        }
        assert_eq!(read(&("(!".repeat(65) + "(a=b)")), Err(BadFilter::Deep));
        assert_eq!(read(&format!("(|{})", "(a=b)".repeat(1024))), Err(BadFilter::Large));
        assert_eq!(read(&"a".repeat(TEXT_OCTETS_MAX + 1)), Err(BadFilter::Long));
    }
}

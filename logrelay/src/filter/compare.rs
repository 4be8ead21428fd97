//! Comparisons of templates: `"${HOST}" eq "web01"`, `"${LEVEL_NUM}" < 4`.
//!
//! Words compare texts, octet by octet. Signs compare numbers; with a side that is no number only `!=` is true, as in
//! syslog-ng 4. If one side is a constant that is no number, signs compare texts, as in syslog-ng 4 too.

use std::cmp::Ordering;

use super::{Context, test::with_template};
use crate::{message::Message, template::Template};

#[derive(Debug)]
pub(super) struct Comparison {
    left: Template,
    right: Template,
    operator: Operator,
}

/// Which outcomes of a comparison are true, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operator {
    less: bool,
    equal: bool,
    greater: bool,
    numeric: bool,
}

impl Operator {
    /// The operator with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (less, equal, greater, numeric) = match name {
            "lt" => (true, false, false, false),
            "le" => (true, true, false, false),
            "eq" => (false, true, false, false),
            "ne" => (true, false, true, false),
            "ge" => (false, true, true, false),
            "gt" => (false, false, true, false),
            "<" => (true, false, false, true),
            "<=" => (true, true, false, true),
            "==" => (false, true, false, true),
            "!=" => (true, false, true, true),
            ">=" => (false, true, true, true),
            ">" => (false, false, true, true),
            _ => return None,
        };
        Some(Self { less, equal, greater, numeric })
    }

    fn is_true(self, outcome: Option<Ordering>) -> bool {
        match outcome {
            Some(Ordering::Less) => self.less,
            Some(Ordering::Equal) => self.equal,
            Some(Ordering::Greater) => self.greater,
            None => self.less && self.greater,
        }
    }
}

impl Comparison {
    pub(super) fn new(left: Template, mut operator: Operator, right: Template) -> Self {
        let is_word = |side: &Template| side.as_constant().is_some_and(|text| number(text.as_bytes()).is_none());
        operator.numeric &= !is_word(&left) && !is_word(&right);
        Self { left, right, operator }
    }

    pub(super) fn matches(&self, message: &Message<'_>, context: &Context) -> bool {
        with_template(&self.left, message, context, |left| {
            with_template(&self.right, message, context, |right| {
                let outcome = if self.operator.numeric {
                    number(left).zip(number(right)).and_then(|(left, right)| left.compare(right))
                } else {
                    Some(left.cmp(right))
                };
                self.operator.is_true(outcome)
            })
        })
    }
}

/// A number in a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(&right)),
            _ => self.real().partial_cmp(&other.real()),
        }
    }

    fn real(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
    }
}

/// Reads a decimal number; `inf` and `nan` are words.
pub(super) fn number(text: &[u8]) -> Option<Number> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    if !text.as_bytes().iter().any(u8::is_ascii_digit) {
        return None;
    }
    text.parse().map(Number::Whole).or_else(|_| text.parse().map(Number::Real)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b" 12 "), Some(Number::Whole(12)));
        assert_eq!(number(b"-1.5"), Some(Number::Real(-1.5)));
        assert!([&b""[..], b"inf", b"nan", b"1x", b"x", b"\xff1"].into_iter().all(|text| number(text).is_none()));
        let order = |left: &[u8], right: &[u8]| number(left).unwrap().compare(number(right).unwrap());
        assert_eq!(order(b"9007199254740993", b"9007199254740992"), Some(Ordering::Greater));
        assert_eq!(order(b"10", b"9.5"), Some(Ordering::Greater));
        assert_eq!(order(b"010", b"10"), Some(Ordering::Equal));
    }
}

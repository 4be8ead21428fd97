//! The macros: their names, and which of them lie in a message as they are.

use crate::message::{Field, Message};

use super::{error::nearest, write};

/// A macro of a template, or of `value()` in filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Macro {
    /// One that syslog-ng has too, or one of ours.
    Known(Known),
    /// A date or a part of it.
    Date(Time, Date),
    /// A parameter of structured data: `id.key`, of `${.SDATA.id.key}`.
    Sdata(Box<str>),
    /// A value that a rewrite rule set.
    Value(Box<str>),
}

/// A macro that is no date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the names of the macros")]
pub enum Known {
    Host,
    HostFrom,
    HeaderHost,
    LogHost,
    HostId,
    Source,
    SourceIp,
    SourcePort,
    Program,
    Pid,
    MsgId,
    MsgHdr,
    Message,
    Sdata,
    Facility,
    FacilityNum,
    Level,
    LevelNum,
    Pri,
    Tag,
    BsdTag,
    Tags,
    Sequence,
    UniqId,
    RawMsg,
    RawMsgSize,
    Role,
    Roles,
    Zone,
    Region,
    Product,
    Groups,
    Labels,
    Rfc5424Header,
}

/// Which of a message's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// In the message: no prefix, or `S_`.
    Stamp,
    /// Of receipt: `R_`.
    Received,
    /// Now: `C_` and `P_`.
    Now,
}

/// A date, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the names of the macros")]
pub enum Date {
    Bsd,
    Iso,
    Full,
    UnixTime,
    Year,
    YearDay,
    Month,
    MonthAbbrev,
    MonthName,
    MonthWeek,
    Day,
    Hour,
    Hour12,
    AmPm,
    Min,
    Sec,
    Msec,
    Usec,
    WeekDay,
    WeekDayAbbrev,
    WeekDayName,
    Week,
    IsoWeek,
    Zone,
}

const KNOWN: &[(&str, Known)] = &[
    ("HOST", Known::Host),
    ("FULLHOST", Known::Host),
    ("HOST_FROM", Known::HostFrom),
    ("FULLHOST_FROM", Known::HostFrom),
    ("HEADERHOST", Known::HeaderHost),
    ("LOGHOST", Known::LogHost),
    ("HOSTID", Known::HostId),
    ("SOURCE", Known::Source),
    ("SOURCEIP", Known::SourceIp),
    ("PEERIP", Known::SourceIp),
    ("SOURCEPORT", Known::SourcePort),
    ("PEERPORT", Known::SourcePort),
    ("PROGRAM", Known::Program),
    ("PID", Known::Pid),
    ("MSGID", Known::MsgId),
    ("MSGHDR", Known::MsgHdr),
    ("LEGACY_MSGHDR", Known::MsgHdr),
    ("MSG", Known::Message),
    ("MESSAGE", Known::Message),
    ("MSGONLY", Known::Message),
    ("SDATA", Known::Sdata),
    ("FACILITY", Known::Facility),
    ("FACILITY_NUM", Known::FacilityNum),
    ("LEVEL", Known::Level),
    ("SEVERITY", Known::Level),
    ("PRIORITY", Known::Level),
    ("LEVEL_NUM", Known::LevelNum),
    ("SEVERITY_NUM", Known::LevelNum),
    ("PRI", Known::Pri),
    ("TAG", Known::Tag),
    ("BSDTAG", Known::BsdTag),
    ("TAGS", Known::Tags),
    ("SEQNUM", Known::Sequence),
    ("RCPTID", Known::Sequence),
    ("UNIQID", Known::UniqId),
    ("RAWMSG", Known::RawMsg),
    ("RAWMSG_SIZE", Known::RawMsgSize),
    ("ROLE", Known::Role),
    ("ROLES", Known::Roles),
    ("ZONE", Known::Zone),
    ("REGION", Known::Region),
    ("PRODUCT", Known::Product),
    ("GROUPS", Known::Groups),
    ("LABELS", Known::Labels),
    ("RFC5424HEADER", Known::Rfc5424Header),
];

const DATES: &[(&str, Date)] = &[
    ("DATE", Date::Bsd),
    ("STAMP", Date::Bsd),
    ("ISODATE", Date::Iso),
    ("FULLDATE", Date::Full),
    ("UNIXTIME", Date::UnixTime),
    ("YEAR", Date::Year),
    ("YEAR_DAY", Date::YearDay),
    ("MONTH", Date::Month),
    ("MONTH_ABBREV", Date::MonthAbbrev),
    ("MONTH_NAME", Date::MonthName),
    ("MONTH_WEEK", Date::MonthWeek),
    ("DAY", Date::Day),
    ("HOUR", Date::Hour),
    ("HOUR12", Date::Hour12),
    ("AMPM", Date::AmPm),
    ("MIN", Date::Min),
    ("SEC", Date::Sec),
    ("MSEC", Date::Msec),
    ("USEC", Date::Usec),
    ("WEEKDAY", Date::WeekDayAbbrev),
    ("WEEK_DAY", Date::WeekDay),
    ("WEEK_DAY_ABBREV", Date::WeekDayAbbrev),
    ("WEEK_DAY_NAME", Date::WeekDayName),
    ("WEEK", Date::Week),
    ("ISOWEEK", Date::IsoWeek),
    ("TZ", Date::Zone),
    ("TZOFFSET", Date::Zone),
];

/// What rewrite rules can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settable {
    /// The message proper.
    Message,
    /// `PROGRAM`, `HOST`, `PID` or `MSGID`.
    Field(Field),
    /// A value with a name of the operator's choice.
    Value(Box<str>),
}

impl Macro {
    /// The macro with this name; a name that is none is a value that rules set.
    pub fn named(name: &str) -> Self {
        if let Some((_, known)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return Self::Known(*known);
        }
        let (time, rest) = match name.split_at_checked(2) {
            Some(("R_", rest)) => (Time::Received, rest),
            Some(("S_", rest)) => (Time::Stamp, rest),
            Some(("C_" | "P_", rest)) => (Time::Now, rest),
            _ => (Time::Stamp, name),
        };
        if let Some((_, date)) = DATES.iter().find(|(known, _)| *known == rest) {
            return Self::Date(time, *date);
        }
        match name.strip_prefix(".SDATA.") {
            Some(path) => Self::Sdata(path.into()),
            None => Self::Value(name.into()),
        }
    }

    /// The name, if it is a value that rules set.
    pub fn value_name(&self) -> Option<&str> {
        match self {
            Self::Value(name) => Some(name),
            _ => None,
        }
    }

    /// What the macro stands for, when that lies in the message as it is.
    pub fn borrow<'a>(&self, message: &Message<'a>) -> Option<&'a [u8]> {
        Some(match self {
            Self::Known(known) => return known.borrow(message),
            Self::Value(name) => value(message, name),
            Self::Sdata(path) => return Some(write::sdata(message.sdata, path)).filter(|text| !text.contains(&b'\\')),
            Self::Date(..) => return None,
        })
    }
}

impl Known {
    fn borrow<'a>(self, message: &Message<'a>) -> Option<&'a [u8]> {
        let field = match self {
            Self::Message => return Some(message.message),
            Self::Sdata => return Some(message.sdata),
            Self::RawMsg => return Some(message.raw),
            Self::Role => return Some(message.list(Field::Roles).next().unwrap_or_default()),
            Self::Host => Field::Host,
            Self::HeaderHost => Field::HeaderHost,
            Self::Source => Field::Source,
            Self::Program => Field::Program,
            Self::Pid => Field::Pid,
            Self::MsgId => Field::MsgId,
            Self::Zone => Field::Zone,
            Self::Region => Field::Region,
            Self::Product => Field::Product,
            _ => return None,
        };
        Some(message.field(field))
    }
}

impl Settable {
    /// What `value("NAME")` of a rewrite rule names.
    ///
    /// # Errors
    /// It is a macro that is computed, or no name.
    pub fn named(name: &str) -> Result<Self, String> {
        let name = bare(name);
        match Macro::named(name) {
            Macro::Known(Known::Message) => Ok(Self::Message),
            Macro::Known(Known::Host) => Ok(Self::Field(Field::Host)),
            Macro::Known(Known::Program) => Ok(Self::Field(Field::Program)),
            Macro::Known(Known::Pid) => Ok(Self::Field(Field::Pid)),
            Macro::Known(Known::MsgId) => Ok(Self::Field(Field::MsgId)),
            Macro::Known(Known::Level | Known::LevelNum) => Err(format!("{name} is set with set-severity(\"...\")")),
            Macro::Known(Known::Facility | Known::FacilityNum) => {
                Err(format!("{name} is set with set-facility(\"...\")"))
            }
            Macro::Known(Known::Pri) => Err("PRI is set with set-pri(\"...\")".into()),
            Macro::Known(Known::Tags) => Err("tags are set with set-tag(\"...\") and clear-tag(\"...\")".into()),
            Macro::Known(_) | Macro::Date(..) | Macro::Sdata(_) => Err(format!(
                "{name} cannot be set; only MESSAGE, PROGRAM, HOST, PID, MSGID and values of your own, as .app.user, can"
            )),
            Macro::Value(name) if name.is_empty() => Err("a name is missing here, as in value(\"MESSAGE\")".into()),
            Macro::Value(name) if name.contains(['=', '\n', '{', '}', '$', ':']) => {
                Err(format!("{name:?} is no name: it must be without = $ : {{ }} and line ends"))
            }
            Macro::Value(name) => Ok(Self::Value(name)),
        }
    }

    /// What it is in a message.
    pub fn of<'a>(&self, message: &Message<'a>) -> &'a [u8] {
        match self {
            Self::Message => message.message,
            Self::Field(field) => message.field(*field),
            Self::Value(name) => value(message, name),
        }
    }
}

/// The name in `${name}` and `$name`, which `value()` takes for `name`.
pub(crate) fn bare(name: &str) -> &str {
    let Some(name) = name.strip_prefix('$') else { return name };
    name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name)
}

/// A value that a rule set; empty if none did.
fn value<'a>(message: &Message<'a>, name: &str) -> &'a [u8] {
    let named = |item: &'a [u8]| item.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    message.list(Field::Values).find_map(named).unwrap_or_default()
}

/// The macro that is likely meant by a name which is none; names in small letters are hardly meant as macros.
pub(super) fn likely(name: &str) -> Option<&'static str> {
    if name.len() < 3 || name.chars().any(|c| c.is_ascii_lowercase()) || name.starts_with('.') {
        return None;
    }
    let names = KNOWN.iter().map(|(name, _)| *name).chain(DATES.iter().map(|(name, _)| *name));
    nearest(name, names).filter(|known| strsim::jaro_winkler(known, name) > 0.85)
}

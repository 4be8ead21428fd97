//! Locations (RFC 1876): `52 22 23.000 N 4 53 32.000 E -2.00m [size [horizontal [vertical]]]`.

use super::decode::Wire;

/// 2^31 stands for the equator and the prime meridian.
const MIDDLE: i64 = 1 << 31;
/// Altitudes count from 100,000 m below the reference spheroid, in centimetres.
const BASE_CM: i64 = 10_000_000;

/// Reads the words; `None` if they are no location.
pub(super) fn encode(words: &[&str]) -> Option<Vec<u8>> {
    let mut words = words.iter().copied();
    let latitude = angle(&mut words, "N", "S", 90)?;
    let longitude = angle(&mut words, "E", "W", 180)?;
    let altitude = u32::try_from(centimetres(words.next()?)? + BASE_CM).ok()?;
    let mut out = vec![0];
    for default in [100, 1_000_000, 1_000] {
        out.push(precision(words.next().map_or(Some(default), centimetres)?)?);
    }
    if words.next().is_some() {
        return None;
    }
    for number in [latitude, longitude, altitude] {
        out.extend(number.to_be_bytes());
    }
    Some(out)
}

/// Degrees, then minutes and seconds if they are there, then the direction; in thousandths of a second of arc.
fn angle<'a>(words: &mut impl Iterator<Item = &'a str>, plus: &str, minus: &str, most: i64) -> Option<u32> {
    let mut parts = [0_i64; 3];
    for at in 0..4 {
        let word = words.next()?;
        let sign = match word {
            _ if word.eq_ignore_ascii_case(plus) => 1,
            _ if word.eq_ignore_ascii_case(minus) => -1,
            _ => {
                *parts.get_mut(at)? = if at == 2 { fixed(word, 3)? } else { fixed(word, 0)? };
                continue;
            }
        };
        let [degrees, minutes, millis] = parts;
        let total = degrees.checked_mul(3_600_000)? + minutes.checked_mul(60_000)? + millis;
        let fits = at > 0 && minutes < 60 && millis < 60_000 && total <= most * 3_600_000;
        return fits.then(|| u32::try_from(MIDDLE + sign * total).ok())?;
    }
    None
}

/// An unsigned decimal number with up to `places` digits after the point, as an integer.
fn fixed(text: &str, places: usize) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || part.len() > places || !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

fn centimetres(text: &str) -> Option<i64> {
    let text = text.strip_suffix(['m', 'M']).unwrap_or(text);
    match text.strip_prefix('-') {
        Some(rest) => fixed(rest, 2).map(|n| -n),
        None => fixed(text, 2),
    }
}

/// Mantissa and exponent of ten, four bits each (section 2).
fn precision(mut centimetres: i64) -> Option<u8> {
    let mut exponent = 0;
    while centimetres > 9 {
        centimetres /= 10;
        exponent += 1;
    }
    (centimetres >= 0 && exponent <= 9).then_some((centimetres as u8) << 4 | exponent)
}

/// Shows version 0; `None` for other versions and impossible numbers.
pub(super) fn decode(wire: &[u8]) -> Option<String> {
    let mut wire = Wire(wire);
    let [version, size, horizontal, vertical] = wire.array()?;
    let (latitude, longitude, altitude) = (wire.u32()?, wire.u32()?, wire.u32()?);
    if version != 0 || !wire.0.is_empty() {
        return None;
    }
    let altitude = i64::from(altitude) - BASE_CM;
    let sign = if altitude < 0 { "-" } else { "" };
    Some(format!(
        "{} {} {sign}{} {} {} {}",
        show_angle(latitude, 'N', 'S', 90)?,
        show_angle(longitude, 'E', 'W', 180)?,
        metres(altitude.unsigned_abs()),
        show_precision(size)?,
        show_precision(horizontal)?,
        show_precision(vertical)?,
    ))
}

fn show_angle(number: u32, plus: char, minus: char, most: u64) -> Option<String> {
    let offset = i64::from(number) - MIDDLE;
    let total = offset.unsigned_abs();
    let direction = if offset < 0 { minus } else { plus };
    (total <= most * 3_600_000).then(|| {
        let (degrees, minutes, millis) = (total / 3_600_000, total / 60_000 % 60, total % 60_000);
        format!("{degrees} {minutes} {}.{:03} {direction}", millis / 1000, millis % 1000)
    })
}

fn show_precision(octet: u8) -> Option<String> {
    let (mantissa, exponent) = (octet >> 4, octet & 15);
    // A mantissa of 0 with an exponent would read back as another octet.
    let good = mantissa <= 9 && exponent <= 9 && (mantissa > 0 || exponent == 0);
    good.then(|| metres(u64::from(mantissa) * 10_u64.pow(exponent.into())))
}

fn metres(centimetres: u64) -> String {
    format!("{}.{:02}m", centimetres / 100, centimetres % 100)
}

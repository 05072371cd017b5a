//! Times of search: a text is the span that its precision leaves open, and two spans are compared by FHIR's prefixes.
//! Unit: microseconds since 1970, UTC; a span's end is exclusive. A time without a zone is read as UTC.
//! Source: HL7 FHIR R4, section 3.1.1.4.7 (prefixes) and 3.1.1.5.3 (date).

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// From `low` until before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub low: i64,
    pub high: i64,
}

/// How a target is held to a wanted span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    StartsAfter,
    EndsBefore,
}

impl Prefix {
    /// The prefix and what follows it. `ap` is none of ours: it would guess.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        let known = [
            ("eq", Self::Equal),
            ("ne", Self::NotEqual),
            ("gt", Self::Greater),
            ("lt", Self::Less),
            ("ge", Self::GreaterOrEqual),
            ("le", Self::LessOrEqual),
            ("sa", Self::StartsAfter),
            ("eb", Self::EndsBefore),
        ];
        match text.get(..2) {
            Some(word) if word.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                known.iter().find(|(name, _)| *name == word).map(|(_, prefix)| (*prefix, text.get(2..).unwrap_or("")))
            }
            _ => Some((Self::Equal, text)),
        }
    }

    /// Whether `target` stands to `wanted` as the prefix says.
    pub(super) const fn holds(self, target: Span, wanted: Span) -> bool {
        let within = wanted.low <= target.low && target.high <= wanted.high;
        match self {
            Self::Equal => within,
            Self::NotEqual => !within,
            Self::Greater => target.high > wanted.high,
            Self::Less => target.low < wanted.low,
            Self::GreaterOrEqual => target.high > wanted.high || within,
            Self::LessOrEqual => target.low < wanted.low || within,
            Self::StartsAfter => target.low >= wanted.high,
            Self::EndsBefore => target.high <= wanted.low,
        }
    }
}

const SECOND: i64 = 1_000_000;

/// The span of a date or time of FHIR.
pub(super) fn span(text: &str) -> Option<Span> {
    if !text.is_ascii() {
        return None;
    }
    let (date, clock) = text.split_once('T').map_or((text, None), |(date, clock)| (date, Some(clock)));
    let parts: Vec<&str> = date.split('-').collect();
    let number = |part: &str, digits: usize| {
        let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<u16>().ok()).flatten()
    };
    let year = i32::from(number(parts.first()?, 4)?);
    let month = parts.get(1).map(|part| number(part, 2)).map_or(Some(None), |found| found.map(Some))?;
    let day = parts.get(2).map(|part| number(part, 2)).map_or(Some(None), |found| found.map(Some))?;
    if parts.len() > 3 || (clock.is_some() && day.is_none()) {
        return None;
    }
    let start = |year: i32, month: u16, day: u16| {
        let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
        Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok().map(|date| date.midnight().assume_utc())
    };
    let begin = start(year, month.unwrap_or(1), day.unwrap_or(1))?;
    match (month, day, clock) {
        (None, ..) => Some(Span { low: micros(begin), high: micros(start(year + 1, 1, 1)?) }),
        (Some(12), None, _) => Some(Span { low: micros(begin), high: micros(start(year + 1, 1, 1)?) }),
        (Some(month), None, _) => Some(Span { low: micros(begin), high: micros(start(year, month + 1, 1)?) }),
        (_, Some(_), None) => Some(Span { low: micros(begin), high: micros(begin) + 86_400 * SECOND }),
        (_, Some(_), Some(clock)) => moment(begin.date(), clock),
    }
}

/// `hh:mm`, seconds and their fraction where they are given, and the zone.
fn moment(date: Date, clock: &str) -> Option<Span> {
    // a plus that nobody encoded arrives as a space
    let zone_at = clock.find(['Z', '+', '-', ' ']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at_checked(zone_at)?;
    let parts: Vec<&str> = clock.split(':').collect();
    let two = |part: &str| -> Option<u8> {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse().ok()).flatten()
    };
    let (hour, minute) = (two(parts.first()?)?, two(parts.get(1)?)?);
    let (second, micro, width) = match parts.get(2) {
        None => (0, 0, 60 * SECOND),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').map_or((*seconds, None), |(a, b)| (a, Some(b)));
            let (micro, width) = fraction.map_or(Some((0, SECOND)), fraction_of)?;
            (two(whole)?, micro, width)
        }
    };
    if parts.len() > 3 {
        return None;
    }
    let time = Time::from_hms_micro(hour, minute, second, micro).ok()?;
    let offset = match zone {
        "" | "Z" => UtcOffset::UTC,
        _ => {
            let (sign, rest) = zone.split_at_checked(1)?;
            let (hours, minutes) = rest.split_once(':')?;
            let (hours, minutes) = (i8::try_from(two(hours)?).ok()?, i8::try_from(two(minutes)?).ok()?);
            let sign = if sign == "-" { -1 } else { 1 };
            UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()?
        }
    };
    let low = micros(PrimitiveDateTime::new(date, time).assume_offset(offset));
    Some(Span { low, high: low + width })
}

/// Microseconds of a fraction, and how wide its last digit is.
fn fraction_of(digits: &str) -> Option<(u32, i64)> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let six: String = digits.chars().chain("000000".chars()).take(6).collect();
    let width = SECOND / 10_i64.pow(u32::try_from(digits.len().min(6)).ok()?);
    Some((six.parse().ok()?, width))
}

fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-SVC-263
    #[test]
    fn a_date_is_as_wide_as_its_precision() {
        let day = 86_400 * SECOND;
        for (text, width) in [
            ("2024", 366 * day),
            ("2023", 365 * day),
            ("2024-02", 29 * day),
            ("2024-12", 31 * day),
            ("2024-02-29", day),
            ("2024-02-29T10:00Z", 60 * SECOND),
            ("2024-02-29T10:00:00Z", SECOND),
            ("2024-02-29T10:00:00.5Z", SECOND / 10),
            ("2024-02-29T10:00:00.123456Z", 1),
        ] {
            let span = span(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(span.high - span.low, width, "{text}");
        }
        assert_eq!(span("2024-02-29T11:00:00+01:00"), span("2024-02-29T10:00:00Z"));
        assert_eq!(span("2024-02-29T11:00:00 01:00"), span("2024-02-29T10:00:00Z"), "an unencoded plus");
        assert_eq!(span("2024-02-29T10:00:00"), span("2024-02-29T10:00:00Z"));
        assert_eq!(span("1970-01-01").unwrap().low, 0);
    }

    /// Proves: REQ-SVC-263
    #[test]
    fn what_is_no_date_is_none() {
        for wrong in [
            "",
            "24",
            "20240229",
            "2024-13",
            "2024-00",
            "2024-02-30",
            "2024-2-3",
            "2024-02-29T",
            "2024-02-29T10",
            "2024-02-29T25:00Z",
            "2024-02-29T10:00:61Z",
            "2024-02T10:00Z",
            "2024-02-29T10:00:00.Z",
            "2024-02-29-01",
            "2024-02-29T10:00:00+1",
            "2024-02-29T10:00:00+99:00",
            "-024",
            "2024-02-29T10:00:00:00Z",
            "２０２４",
            "now",
        ] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }

    /// Proves: REQ-SVC-263
    #[test]
    fn prefixes_compare_spans_as_the_standard_says() {
        // target, prefixes under which `wanted` = 2024-02 finds it
        for (target, found) in [
            ("2024-02-15", "eq ge le"),
            ("2024-02", "eq ge le"),
            ("2024-02-29T23:59:59.9Z", "eq ge le"),
            ("2024-03-01", "ne gt ge sa"),
            ("2024-01-31", "ne lt le eb"),
            ("2024", "ne gt lt ge le"),
            ("2025", "ne gt ge sa"),
        ] {
            for word in ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"] {
                let text = format!("{word}2024-02");
                let (prefix, rest) = Prefix::split(&text).unwrap();
                let holds = prefix.holds(span(target).unwrap(), span(rest).unwrap());
                assert_eq!(holds, found.split(' ').any(|one| one == word), "{target} {word}");
            }
        }
        assert_eq!(Prefix::split("2024"), Some((Prefix::Equal, "2024")));
        assert_eq!(Prefix::split("ap2024"), None);
        assert_eq!(Prefix::split("xx2024"), None);
    }
}

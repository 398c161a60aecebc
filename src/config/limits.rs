//! `[limits]`: what one site may use of the reloads and requests that all sites share.

use super::raw::{At, File, Section};

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Changes of a site within an hour that are acted on at once; 0: all.
    pub changes_free: u32,
    /// Certificates reported in 24 hours for one site, and for one record of the portal; 0: any number.
    pub reports_per_day: u32,
    /// The part of the week's requests that one site may use while other sites have reports waiting.
    pub share: Share,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self { changes_free: 0, reports_per_day: 0, share: Share::ALL };
}

impl Default for Limits {
    fn default() -> Self {
        Self { changes_free: 6, reports_per_day: 4, share: Share { part: 1, of: 4 } }
    }
}

/// A part of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    part: u32,
    of: u32,
}

impl Share {
    /// The whole: nothing is shared out.
    pub const ALL: Self = Self { part: 1, of: 1 };

    /// Returns the share of `whole`, at least one, or `None` if nothing is shared out.
    pub fn of(self, whole: u32) -> Option<u32> {
        let share = u64::from(whole) * u64::from(self.part) / u64::from(self.of);
        (self.part < self.of).then(|| u32::try_from(share).unwrap_or(whole).max(1))
    }

    /// Parses `1/4` or `25%`; 0 stands for no share.
    fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|number| plain && (0..=1_000_000).contains(number))
        };
        let (part, of) = match (text.split_once('/'), text.strip_suffix('%')) {
            (Some((part, of)), _) => (number(part)?, number(of)?),
            (None, Some(percent)) => (number(percent)?, 100),
            (None, None) => (number(text).filter(|number| *number == 0)?, 1),
        };
        let share = if part == 0 { Self::ALL } else { Self { part, of } };
        (of > 0 && part <= of).then_some(share)
    }
}

pub(super) fn limits(file: &File<'_>, section: Option<Section<'_, '_>>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = section else { return limits };
    let count = |at: At<i64>| u32::try_from(at.value).unwrap_or(u32::MAX);
    if let Some(changes) = section.integer("changes_free", 0..1_001) {
        limits.changes_free = count(changes);
    }
    if let Some(reports) = section.integer("reports_per_day", 0..1_000_001) {
        limits.reports_per_day = count(reports);
    }
    if let Some(At { value, line }) = section.string_or_zero("share") {
        match Share::parse(&value) {
            Some(share) => limits.share = share,
            None => file.mistake(
                line,
                "bad_value",
                format!("share = {value:?} is not a part of the whole"),
                "write it like \"1/4\" or \"25%\"; 0 switches it off",
            ),
        }
    }
    section.close();
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_the_whole() {
        for (text, of_fifty) in [
            ("1/4", Some(Some(12))),
            ("1/2", Some(Some(25))),
            ("25%", Some(Some(12))),
            ("1/1000", Some(Some(1))),
            ("1%", Some(Some(1))),
            ("0", Some(None)),
            ("0/4", Some(None)),
            ("0%", Some(None)),
            ("1/1", Some(None)),
            ("100%", Some(None)),
            ("5/4", None),
            ("101%", None),
            ("1/0", None),
            ("0/0", None),
            ("1", None),
            ("0.25", None),
            ("-1/4", None),
            ("+1/4", None),
            ("1/4/4", None),
            ("/4", None),
            ("1/", None),
            ("%", None),
            ("99999999999/99999999999", None),
            ("a quarter", None),
        ] {
            assert_eq!(Share::parse(text).map(|share| share.of(50)), of_fifty, "{text}");
        }
    }
}

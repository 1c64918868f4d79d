//! Prompt caching: whether calls that begin with the same prefix pay for it once, and which of them may go when.
//!
//! The API keeps a marked prefix for a while and charges who reads it a tenth. Who writes it pays more than without a
//! mark, and it can be read only once the writer's answer has begun: of a herd that starts together each would write. So
//! one call goes first, the *lead*, and the others wait until its head has come. Nothing here can hold a task for good: a
//! lead that ends, or whose head does not come in time, makes room for another one, and after a few that brought nothing
//! the calls go as if there were no cache.

use serde::Serialize;

/// An entry is taken to be gone by this share of its life before it is: a call that is admitted now is sent a little later.
const MARGIN: i64 = 10;
/// Leads in a row that brought no head; after these, calls go without a mark for as long as an entry would have lived.
const MOST_LEADS: u32 = 3;

/// How long an entry lives after it was last written or read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum CacheTtl {
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    OneHour,
}

impl CacheTtl {
    pub const ALL: [CacheTtl; 2] = [CacheTtl::FiveMinutes, CacheTtl::OneHour];

    pub fn ms(self) -> i64 {
        match self {
            CacheTtl::FiveMinutes => 300_000,
            CacheTtl::OneHour => 3_600_000,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            CacheTtl::FiveMinutes => "5m",
            CacheTtl::OneHour => "1h",
        }
    }

    pub fn parse(text: &str) -> Option<CacheTtl> {
        CacheTtl::ALL.into_iter().find(|ttl| ttl.as_str() == text)
    }

    /// Until when an entry can be read for sure that was used by a call sent at `sent`.
    pub fn readable_until(self, sent: i64) -> i64 {
        sent.saturating_add(self.ms() - self.ms() / MARGIN)
    }
}

/// What a token of a prefix costs, in nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPrice {
    pub plain: u64,
    pub write_5m: u64,
    pub write_1h: u64,
    pub read: u64,
}

impl TokenPrice {
    fn write(&self, ttl: CacheTtl) -> u64 {
        match ttl {
            CacheTtl::FiveMinutes => self.write_5m,
            CacheTtl::OneHour => self.write_1h,
        }
    }

    /// So many calls pay less together if the first of them writes: `write + (n - 1) read < n plain`, hence
    /// `n > (write - read) / (plain - read)`. At the usual 1.25 and 0.1 times the plain price these are 2, at 2 times 3.
    pub fn least_calls(&self, ttl: CacheTtl) -> Option<u64> {
        let gain = self.plain.checked_sub(self.read).filter(|gain| *gain > 0)?;
        Some(self.write(ttl).saturating_sub(self.read) / gain + 1)
    }

    /// For how long an entry should live that `calls` will want, one at least every `gap_ms`; `None` where it would cost more than it
    /// saves. Each use starts its time again, so it is the gap that counts; twice the gap, for gaps are not even.
    pub fn worth(&self, calls: u64, gap_ms: f64) -> Option<CacheTtl> {
        CacheTtl::ALL.into_iter().find(|ttl| {
            gap_ms * 2.0 <= ttl.ms() as f64
                && self.least_calls(*ttl).is_some_and(|least| calls >= least)
        })
    }
}

/// What is known of a prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    pub ttl: CacheTtl,
    /// It can be read until then.
    pub warm_until: i64,
    /// When its newest lead began, and whether that call is still under way.
    pub led_at: i64,
    pub leading: bool,
    /// Leads since one brought a head.
    pub leads: u32,
    /// No call marks it before: it was learned that marking it brings nothing.
    pub off_until: i64,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mark {
    /// Without a mark.
    #[default]
    Plain,
    /// It leads: nobody else with its prefix goes before its head has come.
    Write(CacheTtl),
    /// It finds the entry there.
    Read(CacheTtl),
}

impl Mark {
    pub fn ttl(self) -> Option<CacheTtl> {
        match self {
            Mark::Plain => None,
            Mark::Write(ttl) | Mark::Read(ttl) => Some(ttl),
        }
    }
}

impl Entry {
    /// How the next call with this prefix goes, or for how many milliseconds it waits for the lead. `worth` is what
    /// [`TokenPrice::worth`] says; `patience_ms` is how long a lead is waited for.
    pub fn next(&self, now: i64, worth: Option<CacheTtl>, patience_ms: i64) -> Result<Mark, i64> {
        if self.off_until > now {
            return Ok(Mark::Plain);
        }
        if self.warm_until > now {
            return Ok(Mark::Read(self.ttl));
        }
        let Some(ttl) = worth else {
            return Ok(Mark::Plain);
        };
        let patience = self.led_at.saturating_add(patience_ms) - now;
        if self.leading && patience > 0 {
            return Err(patience);
        }
        if self.leads >= MOST_LEADS && self.led_at.saturating_add(self.ttl.ms()) > now {
            return Ok(Mark::Plain);
        }
        Ok(Mark::Write(ttl))
    }

    /// The same prefix once a call leads.
    pub fn led(&self, now: i64, ttl: CacheTtl) -> Entry {
        Entry {
            ttl,
            led_at: now,
            leading: true,
            leads: self.leads.saturating_add(1),
            ..*self
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Haiku 5.5's.
    const PRICE: TokenPrice = TokenPrice {
        plain: 100,
        write_5m: 125,
        write_1h: 200,
        read: 10,
    };
    const PATIENCE: i64 = 20_000;

    #[test]
    fn an_entry_is_written_just_where_that_costs_less() {
        for price in [
            PRICE,
            TokenPrice { read: 5, ..PRICE },
            TokenPrice { read: 90, ..PRICE },
        ] {
            for ttl in CacheTtl::ALL {
                let least = price.least_calls(ttl).unwrap();
                for calls in 1..50 {
                    let cached = price.write(ttl) + (calls - 1) * price.read;
                    assert_eq!(
                        cached < calls * price.plain,
                        calls >= least,
                        "{price:?} {calls}"
                    );
                }
            }
        }
        assert_eq!(PRICE.least_calls(CacheTtl::FiveMinutes), Some(2));
        assert_eq!(PRICE.least_calls(CacheTtl::OneHour), Some(3));
        let dear = TokenPrice { read: 100, ..PRICE };
        assert_eq!(dear.worth(1_000, 0.0), None);
    }

    #[test]
    fn it_lives_as_long_as_the_calls_need_it() {
        assert_eq!(PRICE.worth(1, 0.0), None);
        assert_eq!(PRICE.worth(2, 1_000.0), Some(CacheTtl::FiveMinutes));
        assert_eq!(PRICE.worth(2, 160_000.0), None);
        assert_eq!(PRICE.worth(3, 160_000.0), Some(CacheTtl::OneHour));
        assert_eq!(PRICE.worth(1_000, 2_000_000.0), None);
    }

    #[test]
    fn one_leads_and_the_others_wait_for_its_head() {
        let worth = Some(CacheTtl::FiveMinutes);
        let cold = Entry::default();
        let now = 1_000_000;
        assert_eq!(
            cold.next(now, worth, PATIENCE),
            Ok(Mark::Write(CacheTtl::FiveMinutes))
        );
        assert_eq!(cold.next(now, None, PATIENCE), Ok(Mark::Plain));
        let led = cold.led(now, CacheTtl::FiveMinutes);
        assert_eq!(led.next(now + 1_000, worth, PATIENCE), Err(19_000));
        let warm = Entry {
            warm_until: led.ttl.readable_until(now),
            leads: 0,
            ..led
        };
        for later in [1, 269_999] {
            // Also those that would not have written it.
            assert_eq!(
                warm.next(now + later, None, PATIENCE),
                Ok(Mark::Read(CacheTtl::FiveMinutes))
            );
        }
        // It has aged: it is written anew, by one.
        assert_eq!(
            warm.next(now + 270_000, worth, PATIENCE),
            Ok(Mark::Write(CacheTtl::FiveMinutes))
        );
        assert_eq!(warm.next(now + 270_000, None, PATIENCE), Ok(Mark::Plain));
    }

    #[test]
    fn leads_that_bring_nothing_hold_nobody_for_good() {
        let worth = Some(CacheTtl::FiveMinutes);
        let mut entry = Entry::default();
        let mut now = 1_000_000;
        let mut waited = 0;
        for _ in 0..MOST_LEADS {
            assert!(matches!(
                entry.next(now, worth, PATIENCE),
                Ok(Mark::Write(_))
            ));
            entry = entry.led(now, CacheTtl::FiveMinutes);
            // Its head never comes.
            let wait = entry.next(now, worth, PATIENCE).unwrap_err();
            now += wait;
            waited += wait;
        }
        assert_eq!(waited, 3 * PATIENCE);
        assert_eq!(entry.next(now, worth, PATIENCE), Ok(Mark::Plain));
        // One that has ended without a head is not waited for at all.
        let ended = Entry {
            leading: false,
            leads: 1,
            ..entry
        };
        assert!(matches!(
            ended.next(now, worth, PATIENCE),
            Ok(Mark::Write(_))
        ));
        let off = Entry {
            off_until: now + 1,
            warm_until: now + 1,
            ..entry
        };
        assert_eq!(off.next(now, worth, PATIENCE), Ok(Mark::Plain));
        // Later it is tried again.
        let later = now + CacheTtl::FiveMinutes.ms();
        assert!(matches!(
            entry.next(later, worth, PATIENCE),
            Ok(Mark::Write(_))
        ));
    }

    #[test]
    fn times_to_live_read_back() {
        for ttl in CacheTtl::ALL {
            assert_eq!(CacheTtl::parse(ttl.as_str()), Some(ttl));
        }
        assert_eq!(CacheTtl::parse("1d"), None);
    }
}

//! How long an answer a call is given room for, and how many items one answer holds.
//!
//! `max_tokens` is what the worst case of a call is reckoned by, and what a model that never comes to an end can cost. A stage
//! allows for the longest answer that anyone could imagine; what its answers really need is known after a few of them. So a
//! task's first call is given twice the longest answer of its stage so far. One that is cut off there keeps what it has and asks
//! for the rest with all the stage allows, at no attempt's cost, and the longest answer is longer from then on.
//!
//! An answer that is cut off although it was given all the stage allows says something about the chunk: so many items do not fit.
//! Chunks of that size are then split before they are sent, unless as many were seen to fit.

/// Answers that must be known before one is cut short by what they needed.
const LEAST_ANSWERS: u64 = 20;
/// Room for so many times the longest one.
const HEADROOM: u64 = 2;
/// Short answers differ by more than their length says: never less room than this.
const LEAST_TOKENS: u64 = 256;

/// What a stage's answers were like so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    pub count: u64,
    /// Output tokens of the longest.
    pub longest: u64,
    /// The fewest items of which an answer was cut off at all that the stage allows.
    pub cut_items: Option<u32>,
    /// The most items of which an answer was not.
    pub whole_items: u32,
}

impl Answers {
    /// Room for a task's first answer where it is less than what the stage allows.
    pub fn room(&self, allowed: u32) -> Option<u32> {
        if self.count < LEAST_ANSWERS || self.longest == 0 {
            return None;
        }
        let room = self
            .longest
            .saturating_mul(HEADROOM)
            .max(LEAST_TOKENS)
            .try_into()
            .ok()?;
        (room < allowed).then_some(room)
    }

    /// So many items do not fit one answer, as far as is known.
    pub fn too_many(&self, items: u32) -> bool {
        items > 1
            && items > self.whole_items
            && self.cut_items.is_some_and(|fewest| items >= fewest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(count: u64, longest: u64) -> Answers {
        Answers {
            count,
            longest,
            ..Answers::default()
        }
    }

    #[test]
    fn an_answer_has_twice_the_room_that_the_longest_needed() {
        assert_eq!(seen(20, 400).room(4_096), Some(800));
        assert_eq!(seen(20, 2_047).room(4_096), Some(4_094));
        assert_eq!(seen(1_000, 3).room(4_096), Some(256));
    }

    #[test]
    fn all_that_is_allowed_while_little_is_known_or_much_is_needed() {
        assert_eq!(seen(19, 400).room(4_096), None);
        assert_eq!(seen(20, 0).room(4_096), None);
        assert_eq!(seen(20, 2_048).room(4_096), None);
        assert_eq!(seen(20, 3).room(256), None);
        assert_eq!(seen(20, u64::MAX).room(u32::MAX), None);
    }

    #[test]
    fn chunks_as_large_as_one_that_was_cut_off_are_too_large() {
        let cut = Answers {
            cut_items: Some(40),
            whole_items: 20,
            ..Answers::default()
        };
        assert!(cut.too_many(40) && cut.too_many(100));
        assert!(!cut.too_many(39) && !cut.too_many(1));
        // As many have fitted: the one that did not was long for another reason.
        let both = Answers {
            whole_items: 40,
            ..cut
        };
        assert!(!both.too_many(40));
        assert!(both.too_many(41));
        let one = Answers {
            cut_items: Some(1),
            ..Answers::default()
        };
        assert!(!one.too_many(1) && one.too_many(2));
        assert!(!Answers::default().too_many(1_000));
    }
}

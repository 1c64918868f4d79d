//! Items into chunks: what one worker sees.
//!
//! Chunks are cut by position only, so that a slice of the input can be expanded without the rest, and
//! again after a crash with the same outcome.

use super::spec::Item;

/// How many items from `from` on belong to one slice of expansion: whole chunks, at most `most` items
/// (but always at least one chunk), never beyond `total`.
pub fn slice_len(from: u32, total: u32, per_chunk: u32, most: u32) -> u32 {
    let per_chunk = per_chunk.max(1);
    let whole = (most / per_chunk).max(1).saturating_mul(per_chunk);
    total.saturating_sub(from).min(whole)
}

/// Cuts a slice into chunks of `per_chunk`; the last may be shorter.
pub fn chunks(items: &[Item], per_chunk: u32) -> impl Iterator<Item = &[Item]> {
    items.chunks(usize::try_from(per_chunk.max(1)).unwrap_or(usize::MAX))
}

/// Whether this is the id that an item has by its place, where its caller gave none.
pub fn is_place(id: &str) -> bool {
    let number = id.strip_prefix("item-");
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// How many chunks `total` items make.
pub fn count(total: u32, per_chunk: u32) -> u32 {
    total.div_ceil(per_chunk.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_every_item_once_and_end() {
        for (total, per_chunk, most) in
            [(10, 3, 6), (1, 5, 2), (1000, 1, 100), (7, 10, 1), (0, 1, 1)]
        {
            let (mut from, mut chunk_count) = (0, 0);
            while from < total {
                let len = slice_len(from, total, per_chunk, most);
                assert!(len > 0);
                chunk_count += count(len, per_chunk);
                from += len;
            }
            assert_eq!(from, total);
            assert_eq!(chunk_count, count(total, per_chunk));
        }
    }
}

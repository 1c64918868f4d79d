//! Large bodies in flight: an isolate has 128 MB, serves many requests at a time, and dies with all of them where two or three
//! bodies of 32 MB meet.
//!
//! A request that is cut off may never be dropped by the runtime, so a place is also free again after a time in which any body
//! is read.

use std::sync::Mutex;

use super::problem::ApiError;

/// Bytes of bodies that an isolate holds at a time; one body of any size that is let in at all is let in alone.
const MOST_BYTES: u64 = 40_000_000;
/// After this a body counts no more.
const PATIENCE_MS: i64 = 120_000;
/// Smaller ones are not counted.
const SMALL_BYTES: u64 = 1_000_000;

static HELD: Mutex<Held> = Mutex::new(Held {
    next: 0,
    bodies: Vec::new(),
});

struct Held {
    next: u64,
    bodies: Vec<Body>,
}

struct Body {
    number: u64,
    bytes: u64,
    until: i64,
}

/// Room for a body, given back when it is dropped.
#[derive(Debug)]
pub struct Room(Option<u64>);

impl Drop for Room {
    fn drop(&mut self) {
        if let (Some(number), Ok(mut held)) = (self.0, HELD.lock()) {
            held.bodies.retain(|body| body.number != number);
        }
    }
}

/// Room for a body of so many bytes, or what the caller is told.
pub fn reserve(bytes: u64, now: i64) -> Result<Room, ApiError> {
    if bytes < SMALL_BYTES {
        return Ok(Room(None));
    }
    let Ok(mut held) = HELD.lock() else {
        return Ok(Room(None));
    };
    held.take(bytes, now)
        .map(|number| Room(Some(number)))
        .ok_or_else(|| ApiError::unavailable("other large bodies are being read"))
}

impl Held {
    fn take(&mut self, bytes: u64, now: i64) -> Option<u64> {
        self.bodies.retain(|body| body.until > now);
        let held: u64 = self.bodies.iter().map(|body| body.bytes).sum();
        if held > 0 && held.saturating_add(bytes) > MOST_BYTES {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.bodies.push(Body {
            number,
            bytes,
            until: now.saturating_add(PATIENCE_MS),
        });
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_take_turns() {
        let mut held = Held {
            next: 0,
            bodies: Vec::new(),
        };
        assert_eq!(held.take(30_000_000, 0), Some(0));
        assert_eq!(held.take(10_000_000, 0), Some(1));
        assert_eq!(held.take(2_000_000, 0), None);
        held.bodies.retain(|body| body.number != 0);
        assert_eq!(held.take(30_000_000, 1), Some(2));
        assert_eq!(
            held.take(2_000_000, PATIENCE_MS),
            Some(3),
            "the second was never given back"
        );
        assert_eq!(held.take(90_000_000, 2 * PATIENCE_MS + 1), Some(4), "alone");
    }
}

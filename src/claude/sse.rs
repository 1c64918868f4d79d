//! Server-sent events, from bytes as they come.
//!
//! Chunks may end anywhere: inside a character, between CR and LF, in the middle of a name. The
//! parser follows the HTML standard's event stream format; it knows nothing of what the events
//! mean. What it holds is bounded, so that an endless line ends in an error and not in memory.

/// The longest event taken: a fetched page inside a tool's result is the largest there is.
pub const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// One event: its `event` field (empty if there was none) and its `data` lines, joined by `\n`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    pub name: String,
    pub data: String,
}

/// An event longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Turns chunks into events. Feed every chunk to [`SseParser::push`], and call [`SseParser::finish`] at the end.
#[derive(Debug, Default)]
pub struct SseParser {
    /// The line that is not over yet.
    line: Vec<u8>,
    /// The last chunk ended on CR: a LF that follows belongs to it.
    after_cr: bool,
    /// The first line has been seen; only before it may a byte order mark stand.
    started: bool,
    name: String,
    data: String,
    has_data: bool,
}

impl SseParser {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and adds the events they complete to `events`.
    ///
    /// # Errors
    /// When an event grows beyond all measure; the stream is of no further use then.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), TooLong> {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, tail) = rest.split_at(end);
            self.grow(head)?;
            self.end_line(events);
            rest = match tail {
                [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.grow(rest)
    }

    /// The stream is over: what was not ended by an empty line is an event too, where it has data. The standard drops it,
    /// but some servers close without the last line, and what it holds was paid for.
    pub fn finish(&mut self, events: &mut Vec<SseEvent>) {
        if !self.line.is_empty() {
            self.end_line(events);
        }
        self.dispatch(events);
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<SseEvent>) {
        let mut line = std::mem::take(&mut self.line);
        if !self.started {
            self.started = true;
            if line.starts_with(b"\xEF\xBB\xBF") {
                line.drain(..3);
            }
        }
        if line.is_empty() {
            self.dispatch(events);
        } else {
            self.field(&String::from_utf8_lossy(&line));
        }
        // The buffer is kept for the next line, unless it was an unusually long one.
        if line.capacity() <= 64 * 1024 {
            line.clear();
            self.line = line;
        }
    }

    fn field(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            // A comment has an empty name; `id` and `retry` are for reconnecting, which a call
            // that is paid for cannot do.
            _ => {}
        }
    }

    fn dispatch(&mut self, events: &mut Vec<SseEvent>) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            events.push(SseEvent { name, data });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &[u8]) -> Vec<SseEvent> {
        let mut events = Vec::new();
        SseParser::new().push(text, &mut events).unwrap();
        events
    }

    fn event(name: &str, data: &str) -> SseEvent {
        SseEvent {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn an_event_ends_at_the_empty_line() {
        assert_eq!(whole(b"event: ping\ndata: {}\n\n"), [event("ping", "{}")]);
        assert_eq!(whole(b"event: ping\ndata: {}\n"), []);
        assert_eq!(
            whole(b"event: ping\n\n"),
            [],
            "without data there is no event"
        );
    }

    #[test]
    fn the_last_event_needs_no_empty_line_at_the_end_of_the_stream() {
        for text in [
            "event: a\ndata: 1\n",
            "event: a\ndata: 1",
            "event: a\r\ndata: 1\r",
        ] {
            let mut parser = SseParser::new();
            let mut events = Vec::new();
            parser.push(text.as_bytes(), &mut events).unwrap();
            assert_eq!(events, []);
            parser.finish(&mut events);
            assert_eq!(events, [event("a", "1")], "{text:?}");
            parser.finish(&mut events);
            assert_eq!(events.len(), 1, "nothing comes twice");
        }
    }

    #[test]
    fn every_line_ending_counts() {
        let expected = [event("a", "1"), event("b", "2")];
        for ending in ["\n", "\r\n", "\r"] {
            let text = ["event: a", "data: 1", "", "event: b", "data: 2", "", ""].join(ending);
            assert_eq!(whole(text.as_bytes()), expected, "{ending:?}");
        }
    }

    #[test]
    fn comments_other_fields_and_a_byte_order_mark_are_passed_over() {
        let text =
            "\u{feff}: hello\nid: 7\nretry: 10\nevent:a\ndata:x\ndata\nother: y\ndata:  z\n\n";
        assert_eq!(whole(text.as_bytes()), [event("a", "x\n\n z")]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(whole(b"data: \xff\n\n"), [event("", "\u{fffd}")]);
    }

    #[test]
    fn an_endless_event_is_an_error() {
        let chunk = vec![b'x'; 1024 * 1024];
        let mut parser = SseParser::new();
        let mut events = Vec::new();
        let mut pushed = parser.push(b"data: ", &mut events);
        for _ in 0..9 {
            pushed = pushed.and_then(|()| parser.push(&chunk, &mut events));
        }
        assert_eq!(pushed, Err(TooLong));

        let mut parser = SseParser::new();
        let line = [b"data: ".as_slice(), &chunk, b"\n"].concat();
        let mut pushed = Ok(());
        for _ in 0..9 {
            pushed = pushed.and_then(|()| parser.push(&line, &mut events));
        }
        assert_eq!(pushed, Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_the_chunks_end_does_not_matter(
            lines in prop::collection::vec(
                prop_oneof![Just(String::new()), "(data|event|id|)(:| :|: )[\\PC]{0,20}", "\\PC{0,20}"], 0..30),
            endings in prop::collection::vec(prop::sample::select(vec!["\n", "\r", "\r\n"]), 30),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let text: String = lines.iter().zip(&endings).flat_map(|(line, end)| [line.as_str(), end]).collect();
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let mut parser = SseParser::new();
            let mut events = Vec::new();
            for pair in at.windows(2) {
                parser.push(&bytes[pair[0]..pair[1]], &mut events).unwrap();
            }
            prop_assert_eq!(events, whole(bytes));
        }

        #[test]
        fn no_bytes_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let mut parser = SseParser::new();
            let mut events = Vec::new();
            for chunk in chunks {
                parser.push(&chunk, &mut events).unwrap();
            }
        }
    }
}

//! An even sample of lines in bounded memory: what a synthesis is shown, all of it where it fits.

/// An even sample in bounded memory: when it grows over its bounds, every second line goes, and from then on
/// only every second, fourth, … line is looked at.
pub struct Sample {
    most: u64,
    bytes: u64,
    /// Of all lines there were.
    pub whole: u64,
    every: u64,
    pub seen: u64,
    pub lines: Vec<String>,
}

impl Sample {
    pub fn of(most: u64) -> Sample {
        Sample {
            most,
            bytes: 0,
            whole: 0,
            every: 1,
            seen: 0,
            lines: Vec::new(),
        }
    }

    pub fn add(&mut self, line: String) {
        let position = self.seen;
        self.seen += 1;
        self.whole += line.len() as u64 + 1;
        if !position.is_multiple_of(self.every) {
            return;
        }
        self.bytes += line.len() as u64 + 1;
        self.lines.push(line);
        while self.bytes > self.most && !self.lines.is_empty() {
            self.every *= 2;
            let mut keep = false;
            self.lines.retain(|_| {
                keep = !keep;
                keep
            });
            if self.lines.len() == 1 && self.bytes > self.most {
                let only = self
                    .lines
                    .iter()
                    .map(|line| line.len() as u64 + 1)
                    .sum::<u64>();
                if only > self.most {
                    self.lines.clear();
                }
            }
            self.bytes = self.lines.iter().map(|line| line.len() as u64 + 1).sum();
        }
    }
}

impl Sample {
    /// Whether lines were left out.
    pub fn is_part(&self) -> bool {
        (self.lines.len() as u64) < self.seen
    }

    pub fn note(&self, what: &str) -> Option<String> {
        self.is_part().then(|| {
            format!(
                "the synthesis was shown an even sample of {} of {} {what}; the frequencies are of all",
                self.lines.len(),
                self.seen
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even_and_within_its_bytes() {
        let mut sample = Sample::of(100);
        for n in 0..1_000 {
            sample.add(format!("{n:04}"));
        }
        let bytes: usize = sample.lines.iter().map(|line| line.len() + 1).sum();
        assert!(bytes <= 100 && bytes > 25, "{bytes}");
        assert_eq!(sample.seen, 1_000);
        let numbers: Vec<u64> = sample
            .lines
            .iter()
            .filter_map(|line| line.parse().ok())
            .collect();
        assert!(
            numbers
                .windows(2)
                .all(|pair| matches!(pair, [a, b] if b - a == sample.every))
        );
    }

    #[test]
    fn nothing_is_kept_where_nothing_fits() {
        let mut sample = Sample::of(3);
        for _ in 0..10 {
            sample.add("too long".to_owned());
        }
        assert!(sample.lines.is_empty());
    }
}

//! What a task is for within its stage.

use utoipa::ToSchema;

/// A stage's own work, and what is done around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ToSchema)]
#[schema(rename_all = "snake_case")]
#[schema(as = Purpose)]
pub enum TaskKind {
    /// A chunk of a map stage, or the synthesis itself.
    #[default]
    Work,
    /// Judges results of a map stage.
    Verify,
    /// Asks once more for results of a map stage that were flagged.
    Redo,
    /// Brings results down to what a synthesis can read.
    Reduce,
}

impl TaskKind {
    pub const ALL: [TaskKind; 4] = [
        TaskKind::Work,
        TaskKind::Verify,
        TaskKind::Redo,
        TaskKind::Reduce,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            TaskKind::Work => "work",
            TaskKind::Verify => "verify",
            TaskKind::Redo => "redo",
            TaskKind::Reduce => "reduce",
        }
    }

    /// Anything unknown reads as the stage's own work.
    pub fn parse(text: &str) -> TaskKind {
        TaskKind::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_read_back() {
        for purpose in TaskKind::ALL {
            assert_eq!(TaskKind::parse(purpose.as_str()), purpose);
        }
        assert_eq!(TaskKind::parse("?"), TaskKind::Work);
    }
}

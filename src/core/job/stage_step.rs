//! The state machine of a map stage: where a stage stands, and the step that comes next. Total and pure, like the
//! machines of jobs and tasks in [`state`](super::state); the driver carries the steps out.

/// Whether a stage has begun, and whether all of its tasks have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageState {
    Waiting,
    Running,
    Done,
}

impl StageState {
    pub const ALL: [StageState; 3] = [StageState::Waiting, StageState::Running, StageState::Done];

    pub fn as_str(self) -> &'static str {
        match self {
            StageState::Waiting => "waiting",
            StageState::Running => "running",
            StageState::Done => "done",
        }
    }

    pub fn parse(text: &str) -> Option<StageState> {
        StageState::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// The part of its work that a stage is at: its own tasks first, then checks of their results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagePhase {
    /// The tasks of the plan.
    Work,
    /// A judge reads a sample of the results.
    Verify,
    /// Results that look wrong are chosen.
    Check,
    /// The chosen ones are asked for once more.
    Redo,
    /// The checks are over.
    Checked,
}

impl StagePhase {
    pub const ALL: [StagePhase; 5] = [
        StagePhase::Work,
        StagePhase::Verify,
        StagePhase::Check,
        StagePhase::Redo,
        StagePhase::Checked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            StagePhase::Work => "work",
            StagePhase::Verify => "verify",
            StagePhase::Check => "check",
            StagePhase::Redo => "redo",
            StagePhase::Checked => "checked",
        }
    }

    pub fn parse(text: &str) -> Option<StagePhase> {
        StagePhase::ALL
            .into_iter()
            .find(|phase| phase.as_str() == text)
    }
}

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageStatus {
    pub state: StageState,
    pub phase: StagePhase,
    /// Every task of the phase exists.
    pub expanded: bool,
    /// Some task of it has not ended.
    pub open: bool,
}

/// The checks that the plan asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageChecks {
    pub verify: bool,
    pub redo: bool,
}

/// The step that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageStep {
    /// The stage begins.
    Start,
    /// More of its input becomes tasks.
    Expand,
    /// More tasks for the judge.
    ExpandVerify,
    /// More tasks for results that are asked for once more.
    ExpandRedo,
    /// Its tasks are sent out, and waited for.
    Call,
    /// A phase begins.
    Begin(StagePhase),
    /// All results are looked at, and the wrong ones chosen.
    Choose,
    /// Answers to what was asked again take the place of the first ones.
    Apply,
    /// Nothing is left to do here.
    Leave,
}

/// The step that follows from where a stage stands.
pub fn next_step(stage: StageStatus, checks: StageChecks) -> StageStep {
    if stage.state == StageState::Waiting {
        return StageStep::Start;
    }
    match (stage.phase, stage.expanded) {
        (StagePhase::Work, false) => StageStep::Expand,
        (StagePhase::Verify, false) => StageStep::ExpandVerify,
        (StagePhase::Redo, false) => StageStep::ExpandRedo,
        (_, true) if stage.open => StageStep::Call,
        (StagePhase::Work, true) if checks.verify => StageStep::Begin(StagePhase::Verify),
        (StagePhase::Work, true) if checks.redo => StageStep::Begin(StagePhase::Check),
        (StagePhase::Work, true) | (StagePhase::Checked, _) => StageStep::Leave,
        (StagePhase::Verify, true) => StageStep::Begin(StagePhase::Check),
        (StagePhase::Check, _) => StageStep::Choose,
        (StagePhase::Redo, true) => StageStep::Apply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(phase: StagePhase, expanded: bool, open: bool) -> StageStatus {
        StageStatus {
            state: StageState::Running,
            phase,
            expanded,
            open,
        }
    }

    const NO_CHECKS: StageChecks = StageChecks {
        verify: false,
        redo: false,
    };

    /// Every pair of phase and expansion, with no task open.
    #[test]
    fn each_pair_has_its_step() {
        use StagePhase::{Check, Checked, Redo, Verify, Work};
        let all = StageChecks {
            verify: true,
            redo: true,
        };
        let table = [
            (Work, false, StageStep::Expand),
            (Work, true, StageStep::Begin(Verify)),
            (Verify, false, StageStep::ExpandVerify),
            (Verify, true, StageStep::Begin(Check)),
            (Check, false, StageStep::Choose),
            (Check, true, StageStep::Choose),
            (Redo, false, StageStep::ExpandRedo),
            (Redo, true, StageStep::Apply),
            (Checked, false, StageStep::Leave),
            (Checked, true, StageStep::Leave),
        ];
        assert_eq!(table.len(), StagePhase::ALL.len() * 2);
        for (phase, expanded, step) in table {
            assert_eq!(
                next_step(at(phase, expanded, false), all),
                step,
                "{phase:?} {expanded}"
            );
        }
    }

    #[test]
    fn a_stage_that_waits_starts_whatever_else_is_true() {
        for phase in StagePhase::ALL {
            let stage = StageStatus {
                state: StageState::Waiting,
                ..at(phase, true, true)
            };
            assert_eq!(next_step(stage, NO_CHECKS), StageStep::Start);
        }
    }

    #[test]
    fn open_tasks_of_an_expanded_phase_are_waited_for() {
        for phase in StagePhase::ALL {
            assert_eq!(next_step(at(phase, true, true), NO_CHECKS), StageStep::Call);
        }
    }

    #[test]
    fn without_checks_a_stage_is_left_after_its_work() {
        let done = at(StagePhase::Work, true, false);
        assert_eq!(next_step(done, NO_CHECKS), StageStep::Leave);
        let redo = StageChecks {
            redo: true,
            ..NO_CHECKS
        };
        assert_eq!(next_step(done, redo), StageStep::Begin(StagePhase::Check));
    }

    /// No order of steps leads in a circle: each phase begins only from one before it, but for a further choice after
    /// answers took the place of the first ones.
    #[test]
    fn phases_go_forward() {
        let order = |phase| StagePhase::ALL.iter().position(|known| *known == phase);
        for phase in StagePhase::ALL {
            let all = StageChecks {
                verify: true,
                redo: true,
            };
            if let StageStep::Begin(next) = next_step(at(phase, true, false), all) {
                assert!(order(next) > order(phase));
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for state in StageState::ALL {
            assert_eq!(StageState::parse(state.as_str()), Some(state));
        }
        for phase in StagePhase::ALL {
            assert_eq!(StagePhase::parse(phase.as_str()), Some(phase));
        }
    }
}

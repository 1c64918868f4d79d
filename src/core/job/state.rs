//! The two state machines, each as one total transition function.
//!
//! State and event are types; a move that the design does not know is an [`Illegal`] value, never a
//! panic. The store guards each write by the state it expects, and asks [`job_states_that_accept`] which states those
//! are, so the table below is the only place that knows.

use std::fmt;

use utoipa::ToSchema;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum JobState {
    /// Written, not looked at yet (or given back by `retry`).
    Queued,
    /// The plan is being made or checked.
    Planning,
    /// The plan waits for the caller.
    AwaitingApproval,
    /// Map stages are being worked on.
    Running,
    /// The last map stage is done; the synthesis is being written.
    Synthesizing,
    /// Halted: by the user, the budget, or the account's quota.
    Paused,
    /// Every item covered and every stage done. Terminal.
    Succeeded,
    /// Something is missing; the coverage says what. Terminal.
    Partial,
    /// Below `min_success_ratio`, or planning or synthesis failed for good. Terminal.
    Failed,
    /// Ended by the caller. Terminal.
    Cancelled,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// The control consumer has taken it up.
    PlanStarted,
    /// The plan is checked and its stages are written.
    PlanReady,
    /// The plan is checked and the caller wants to see it first.
    ApprovalNeeded,
    /// The caller has agreed to the plan.
    Approved,
    /// Every map stage is done.
    MapsDone,
    /// Nothing is missing.
    Succeeded,
    /// Something is missing, but enough is there.
    EndedPartial,
    /// Too little is there, or the plan or the synthesis failed for good.
    Failed,
    /// Halted.
    Paused,
    /// Goes back to the given state, the one it was halted in.
    Resumed(JobState),
    /// The caller ended it.
    Cancelled,
    /// The caller wants the missing part done: the next run begins.
    Retried,
}

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for a place.
    Pending,
    /// A message stands for it.
    Queued,
    /// A consumer holds its lease.
    Running,
    /// Every one of its items has a valid result. Terminal.
    Succeeded,
    /// Given up; results of some items may be there. Terminal.
    Failed,
    /// Never done: the budget or the deadline ended first. Terminal.
    Skipped,
    /// The job was cancelled first. Terminal.
    Cancelled,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskEvent {
    /// A message was sent for it.
    Queued,
    /// A consumer has taken its lease.
    Claimed,
    /// To be tried again, perhaps later.
    Released,
    /// Its holder went silent.
    LeaseExpired,
    Succeeded,
    Failed,
    Skipped,
    Cancelled,
    /// The job's `retry` wants it done after all.
    Revived,
}

/// A move that the machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible in state {state:?}")]
pub struct Illegal<S: fmt::Debug, E: fmt::Debug> {
    pub state: S,
    pub event: E,
}

/// Where `event` leads a job that is in `state`.
pub fn next_job(state: JobState, event: JobEvent) -> Result<JobState, Illegal<JobState, JobEvent>> {
    use JobEvent as E;
    use JobState as S;
    Ok(match (state, event) {
        (S::Queued, E::PlanStarted) => S::Planning,
        (S::Planning, E::PlanReady) => S::Running,
        (S::Planning, E::ApprovalNeeded) => S::AwaitingApproval,
        (S::AwaitingApproval, E::Approved) => S::Running,
        (S::Running, E::MapsDone) => S::Synthesizing,
        // A plan without a synthesis ends from `running`.
        (S::Running | S::Synthesizing, E::Succeeded) => S::Succeeded,
        (S::Running | S::Synthesizing, E::EndedPartial) => S::Partial,
        // The deadline ends a paused job too, and one whose plan never came.
        (S::Queued | S::Planning | S::Running | S::Synthesizing | S::Paused, E::Failed) => {
            S::Failed
        }
        (S::Queued | S::Planning | S::Running | S::Synthesizing, E::Paused) => S::Paused,
        (S::Paused, E::Resumed(to @ (S::Queued | S::Planning | S::Running | S::Synthesizing))) => {
            to
        }
        (
            S::Queued
            | S::Planning
            | S::AwaitingApproval
            | S::Running
            | S::Synthesizing
            | S::Paused,
            E::Cancelled,
        ) => S::Cancelled,
        (S::Partial | S::Failed | S::Cancelled, E::Retried) => S::Queued,
        _ => return Err(Illegal { state, event }),
    })
}

/// Where `event` leads a task that is in `state`.
pub fn next_task(
    state: TaskState,
    event: TaskEvent,
) -> Result<TaskState, Illegal<TaskState, TaskEvent>> {
    use TaskEvent as E;
    use TaskState as S;
    Ok(match (state, event) {
        (S::Pending, E::Queued) => S::Queued,
        // A consumer with free slots takes a waiting task at once: admission and claim in one step.
        (S::Pending | S::Queued, E::Claimed) => S::Running,
        (S::Running, E::Released | E::LeaseExpired) => S::Pending,
        (S::Running, E::Succeeded) => S::Succeeded,
        (S::Running, E::Failed) => S::Failed,
        (S::Pending | S::Queued | S::Running, E::Skipped) => S::Skipped,
        (S::Pending | S::Queued | S::Running, E::Cancelled) => S::Cancelled,
        (S::Failed | S::Skipped | S::Cancelled, E::Revived) => S::Pending,
        _ => return Err(Illegal { state, event }),
    })
}

/// The states in which a job accepts `event`: the guard of the write that carries it.
pub fn job_states_that_accept(event: JobEvent) -> Vec<&'static str> {
    JobState::ALL
        .into_iter()
        .filter(|state| next_job(*state, event).is_ok())
        .map(JobState::as_str)
        .collect()
}

/// The states in which a run is over.
pub fn terminal_job_states() -> Vec<&'static str> {
    JobState::ALL
        .into_iter()
        .filter(|state| state.is_terminal())
        .map(JobState::as_str)
        .collect()
}

/// The states in which a task accepts `event`.
pub fn task_states_that_accept(event: TaskEvent) -> Vec<&'static str> {
    TaskState::ALL
        .into_iter()
        .filter(|state| next_task(*state, event).is_ok())
        .map(TaskState::as_str)
        .collect()
}

impl JobState {
    pub const ALL: [JobState; 10] = [
        JobState::Queued,
        JobState::Planning,
        JobState::AwaitingApproval,
        JobState::Running,
        JobState::Synthesizing,
        JobState::Paused,
        JobState::Succeeded,
        JobState::Partial,
        JobState::Failed,
        JobState::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Planning => "planning",
            JobState::AwaitingApproval => "awaiting_approval",
            JobState::Running => "running",
            JobState::Synthesizing => "synthesizing",
            JobState::Paused => "paused",
            JobState::Succeeded => "succeeded",
            JobState::Partial => "partial",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<JobState> {
        JobState::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Final for this run.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            JobState::Succeeded | JobState::Partial | JobState::Failed | JobState::Cancelled
        )
    }
}

impl TaskState {
    pub const ALL: [TaskState; 7] = [
        TaskState::Pending,
        TaskState::Queued,
        TaskState::Running,
        TaskState::Succeeded,
        TaskState::Failed,
        TaskState::Skipped,
        TaskState::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Pending => "pending",
            TaskState::Queued => "queued",
            TaskState::Running => "running",
            TaskState::Succeeded => "succeeded",
            TaskState::Failed => "failed",
            TaskState::Skipped => "skipped",
            TaskState::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|s| s.as_str() == text)
    }

    pub fn is_terminal(self) -> bool {
        !matches!(
            self,
            TaskState::Pending | TaskState::Queued | TaskState::Running
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const JOB_EVENTS: [JobEvent; 21] = {
        use JobEvent as E;
        [
            E::PlanStarted,
            E::PlanReady,
            E::ApprovalNeeded,
            E::Approved,
            E::MapsDone,
            E::Succeeded,
            E::EndedPartial,
            E::Failed,
            E::Paused,
            E::Cancelled,
            E::Retried,
            E::Resumed(JobState::Queued),
            E::Resumed(JobState::Planning),
            E::Resumed(JobState::AwaitingApproval),
            E::Resumed(JobState::Running),
            E::Resumed(JobState::Synthesizing),
            E::Resumed(JobState::Paused),
            E::Resumed(JobState::Succeeded),
            E::Resumed(JobState::Partial),
            E::Resumed(JobState::Failed),
            E::Resumed(JobState::Cancelled),
        ]
    };
    const TASK_EVENTS: [TaskEvent; 9] = {
        use TaskEvent as E;
        [
            E::Queued,
            E::Claimed,
            E::Released,
            E::LeaseExpired,
            E::Succeeded,
            E::Failed,
            E::Skipped,
            E::Cancelled,
            E::Revived,
        ]
    };

    /// Every (state, event) pair of the job machine, written out: what is not named here is illegal.
    #[test]
    fn the_job_machine_is_exactly_the_design() {
        let legal = "\
queued PlanStarted planning
queued Failed failed
queued Paused paused
queued Cancelled cancelled
planning PlanReady running
planning ApprovalNeeded awaiting_approval
planning Failed failed
planning Paused paused
planning Cancelled cancelled
awaiting_approval Approved running
awaiting_approval Cancelled cancelled
running MapsDone synthesizing
running Succeeded succeeded
running EndedPartial partial
running Failed failed
running Paused paused
running Cancelled cancelled
synthesizing Succeeded succeeded
synthesizing EndedPartial partial
synthesizing Failed failed
synthesizing Paused paused
synthesizing Cancelled cancelled
paused Failed failed
paused Cancelled cancelled
paused Resumed(Queued) queued
paused Resumed(Planning) planning
paused Resumed(Running) running
paused Resumed(Synthesizing) synthesizing
partial Retried queued
failed Retried queued
cancelled Retried queued
";
        let mut seen = String::new();
        for state in JobState::ALL {
            for event in JOB_EVENTS {
                if let Ok(to) = next_job(state, event) {
                    seen += &format!("{} {event:?} {}\n", state.as_str(), to.as_str());
                }
            }
        }
        assert_eq!(seen, legal);
    }

    #[test]
    fn the_task_machine_is_exactly_the_design() {
        let legal = "\
pending Queued queued
pending Claimed running
pending Skipped skipped
pending Cancelled cancelled
queued Claimed running
queued Skipped skipped
queued Cancelled cancelled
running Released pending
running LeaseExpired pending
running Succeeded succeeded
running Failed failed
running Skipped skipped
running Cancelled cancelled
failed Revived pending
skipped Revived pending
cancelled Revived pending
";
        let mut seen = String::new();
        for state in TaskState::ALL {
            for event in TASK_EVENTS {
                if let Ok(to) = next_task(state, event) {
                    seen += &format!("{} {event:?} {}\n", state.as_str(), to.as_str());
                }
            }
        }
        assert_eq!(seen, legal);
    }

    #[test]
    fn a_terminal_job_only_moves_by_retry() {
        for state in JobState::ALL.into_iter().filter(|s| s.is_terminal()) {
            for event in JOB_EVENTS {
                assert!(event == JobEvent::Retried || next_job(state, event).is_err());
            }
        }
    }

    #[test]
    fn stored_names_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
        }
        for state in TaskState::ALL {
            assert_eq!(TaskState::parse(state.as_str()), Some(state));
        }
        assert_eq!(JobState::parse("nonsense"), None);
        assert_eq!(TaskState::parse(""), None);
    }

    #[test]
    fn the_schemas_hold_the_stored_names() {
        use utoipa::PartialSchema;
        let names = |schema| {
            let value = serde_json::to_value::<utoipa::openapi::RefOr<_>>(schema).unwrap();
            value.get("enum").cloned().unwrap()
        };
        let jobs: Vec<&str> = JobState::ALL.map(JobState::as_str).to_vec();
        let tasks: Vec<&str> = TaskState::ALL.map(TaskState::as_str).to_vec();
        assert_eq!(names(JobState::schema()), serde_json::json!(jobs));
        assert_eq!(names(TaskState::schema()), serde_json::json!(tasks));
    }

    #[test]
    fn guards_follow_from_the_machine() {
        assert_eq!(
            job_states_that_accept(JobEvent::Paused),
            ["queued", "planning", "running", "synthesizing"]
        );
        assert_eq!(
            task_states_that_accept(TaskEvent::Claimed),
            ["pending", "queued"]
        );
    }
}

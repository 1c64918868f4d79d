//! What becomes of a task when a call has ended: the one place that decides about repair, retry,
//! splitting and giving up.

/// In the place of a form: the task reads a page first, and asks nothing yet.
pub const FETCH: &str = "fetch";

/// How a task asks next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The last answer and its faults are shown to the model.
    pub repair: bool,
    /// The model goes on with its own turn, which a server tool had paused.
    pub resume: bool,
    /// Without a schema for the API to enforce: it refused ours; our own check decides alone.
    pub plain: bool,
}

impl Form {
    pub const FRESH: Form = Form {
        repair: false,
        resume: false,
        plain: false,
    };

    /// From the start again: what the API refused of the form stays out.
    #[must_use]
    pub fn afresh(self) -> Form {
        Form {
            plain: self.plain,
            ..Form::FRESH
        }
    }

    pub fn as_str(self) -> &'static str {
        match (self.resume, self.repair, self.plain) {
            (false, false, false) => "fresh",
            (false, true, false) => "repair",
            (false, false, true) => "fresh+plain",
            (false, true, true) => "repair+plain",
            (true, _, false) => "resume",
            (true, _, true) => "resume+plain",
        }
    }

    /// Anything unknown reads as a fresh start.
    pub fn parse(text: &str) -> Form {
        Form {
            repair: text.starts_with("repair"),
            resume: text.starts_with("resume"),
            plain: text.ends_with("+plain"),
        }
    }
}

/// Where the task stood when the call began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub form: Form,
    /// Calls that counted, before this one, since the task was last split.
    pub tries: u32,
    pub max_attempts: u32,
    /// Refusals in a row that cost no attempt.
    pub delays: u32,
    /// The stage's cascade has a dearer model, which may do better than this one.
    pub dearer: bool,
}

/// How the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An answer came; `missing` items of the task still have no valid result.
    Answered { missing: u32 },
    /// An answer came that was cut off at less room than the task may have.
    Cut,
    /// The model stopped in the middle of its turn, for a server tool's sake: it may go on.
    Paused,
    /// An answer came that a repair cannot better: the model refused. `missing` as above.
    Refused { missing: u32 },
    /// No usable answer, at the server's or the network's fault: another call may do.
    Failed { after_ms: Option<u64> },
    /// Turned away for load or by the limiter: costs no attempt.
    TurnedAway { after_ms: Option<u64> },
    /// The schema was refused.
    Reshape,
    /// This request never succeeds; `fewer_may` where one with fewer items might. `wanted` items were asked for.
    Hopeless { fewer_may: bool, wanted: u32 },
    /// No call of this account succeeds: the breaker's business. Costs no attempt.
    Stopped,
}

/// What the task does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Every item has its result.
    Done,
    /// Another call in this form, with these counts, after `wait`.
    Again {
        form: Form,
        tries: u32,
        delays: u32,
        wait: Wait,
    },
    /// The items without a result go on in two tasks, both from the start.
    Split,
    /// The items without a result go to the next model of the cascade, from the start.
    Up,
    /// Given up.
    GiveUp,
}

/// When the next call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    None,
    /// As the server said.
    For(u64),
    /// Exponential with full jitter; the number of the step.
    Backoff(u32),
}

/// Decides.
pub fn verdict(standing: Standing, end: End) -> Next {
    let tries = standing.tries.saturating_add(1);
    let left = tries < standing.max_attempts;
    let again = |form: Form, wait: Wait| Next::Again {
        form,
        tries,
        delays: 0,
        wait,
    };
    let fresh = Form {
        plain: standing.form.plain,
        ..Form::FRESH
    };
    match end {
        End::Answered { missing: 0 } | End::Refused { missing: 0 } => Next::Done,
        // A repair is one more look at the same items; what it does not mend is better asked for in two halves,
        // so that one bad item cannot sink the others.
        // Mending is the cheap model's, once: it costs a fraction of what the next one asks, and mostly helps.
        End::Answered { missing } if standing.form.repair => {
            if standing.dearer {
                Next::Up
            } else if missing > 1 {
                Next::Split
            } else if left {
                again(fresh, Wait::None)
            } else {
                Next::GiveUp
            }
        }
        End::Answered { .. } => {
            if left {
                again(
                    Form {
                        repair: true,
                        ..fresh
                    },
                    Wait::None,
                )
            } else if standing.dearer {
                Next::Up
            } else {
                Next::GiveUp
            }
        }
        // Ours was the mistake, so it costs no attempt; only a task's first call is given less, so there is an end to it.
        End::Cut => Next::Again {
            form: standing.form,
            tries: standing.tries,
            delays: 0,
            wait: Wait::None,
        },
        // A pause counts as a call, so there is an end to it.
        End::Paused => {
            if left {
                again(
                    Form {
                        resume: true,
                        ..fresh
                    },
                    Wait::None,
                )
            } else {
                Next::GiveUp
            }
        }
        End::Refused { missing } => {
            if missing > 1 {
                Next::Split
            } else if standing.dearer {
                Next::Up
            } else {
                Next::GiveUp
            }
        }
        End::Failed { after_ms } => {
            if left {
                again(
                    standing.form,
                    after_ms.map_or(Wait::Backoff(standing.tries), Wait::For),
                )
            } else {
                Next::GiveUp
            }
        }
        End::TurnedAway { after_ms } => Next::Again {
            form: standing.form,
            tries: standing.tries,
            delays: standing.delays.saturating_add(1),
            wait: after_ms.map_or(Wait::Backoff(standing.delays), Wait::For),
        },
        End::Reshape if !standing.form.plain => Next::Again {
            form: Form {
                plain: true,
                ..standing.form
            },
            tries: standing.tries,
            delays: 0,
            wait: Wait::None,
        },
        End::Reshape => Next::GiveUp,
        End::Hopeless {
            fewer_may: true,
            wanted,
        } if wanted > 1 => Next::Split,
        End::Hopeless { .. } => Next::GiveUp,
        End::Stopped => Next::Again {
            form: standing.form,
            tries: standing.tries,
            delays: standing.delays,
            wait: Wait::None,
        },
    }
}

/// Milliseconds to wait: what the server said plus up to a tenth, so that the herd does not return as one; or a
/// random share (`dice` in 0..1) of a step that doubles up to `max_ms`.
pub fn wait_ms(wait: Wait, dice: f64, base_ms: u64, max_ms: u64) -> u64 {
    let share = |ms: u64| (ms as f64 * dice) as u64;
    match wait {
        Wait::None => 0,
        Wait::For(ms) => ms.saturating_add(share((ms / 10).max(1))),
        Wait::Backoff(step) => {
            let ceiling = base_ms.saturating_mul(1 << step.min(20)).min(max_ms);
            share(ceiling).max(1)
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const REPAIR: Form = Form {
        repair: true,
        ..Form::FRESH
    };

    fn at(form: Form, tries: u32) -> Standing {
        Standing {
            form,
            tries,
            max_attempts: 5,
            delays: 0,
            dearer: false,
        }
    }

    #[test]
    fn what_the_cheap_model_cannot_mend_goes_to_the_next_one() {
        let cheap = |form, tries| Standing {
            dearer: true,
            ..at(form, tries)
        };
        let end = |missing| End::Answered { missing };
        // First it may mend its answer itself.
        let (form, _) = form_of(verdict(cheap(Form::FRESH, 0), end(3)));
        assert!(form.repair);
        assert_eq!(verdict(cheap(REPAIR, 1), end(3)), Next::Up);
        assert_eq!(verdict(cheap(REPAIR, 1), end(1)), Next::Up);
        assert_eq!(verdict(cheap(REPAIR, 1), end(0)), Next::Done);
        assert_eq!(verdict(cheap(Form::FRESH, 4), end(1)), Next::Up);
        // Of several that are refused together it is not known which one was meant.
        assert_eq!(
            verdict(cheap(Form::FRESH, 0), End::Refused { missing: 3 }),
            Next::Split
        );
        assert_eq!(
            verdict(cheap(Form::FRESH, 0), End::Refused { missing: 1 }),
            Next::Up
        );
        // What is no answer says nothing about the model.
        let failed = End::Failed { after_ms: None };
        assert_eq!(verdict(cheap(Form::FRESH, 4), failed), Next::GiveUp);
    }

    fn form_of(next: Next) -> (Form, u32) {
        match next {
            Next::Again { form, tries, .. } => (form, tries),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_faulty_answer_is_repaired_then_split_then_asked_afresh_until_the_attempts_are_used_up() {
        let end = |missing| End::Answered { missing };
        assert_eq!(form_of(verdict(at(Form::FRESH, 0), end(3))), (REPAIR, 1));
        assert_eq!(verdict(at(REPAIR, 1), end(3)), Next::Split);
        assert_eq!(form_of(verdict(at(REPAIR, 1), end(1))), (Form::FRESH, 2));
        assert_eq!(form_of(verdict(at(Form::FRESH, 2), end(1))), (REPAIR, 3));
        assert_eq!(verdict(at(REPAIR, 4), end(1)), Next::GiveUp);
        assert_eq!(verdict(at(Form::FRESH, 4), end(1)), Next::GiveUp);
        assert_eq!(verdict(at(REPAIR, 4), end(0)), Next::Done);
    }

    #[test]
    fn waiting_for_the_limiter_costs_no_attempt_however_long() {
        let mut standing = at(REPAIR, 2);
        for delays in 1..100 {
            let Next::Again {
                form,
                tries,
                delays: counted,
                wait,
            } = verdict(standing, End::TurnedAway { after_ms: None })
            else {
                panic!("given up")
            };
            assert_eq!((form, tries, counted), (REPAIR, 2, delays));
            assert_eq!(wait, Wait::Backoff(delays - 1));
            standing.delays = counted;
        }
    }

    #[test]
    fn a_failed_call_counts_and_keeps_its_form() {
        let next = verdict(at(REPAIR, 1), End::Failed { after_ms: Some(70) });
        assert_eq!(form_of(next), (REPAIR, 2));
        assert_eq!(
            verdict(at(REPAIR, 4), End::Failed { after_ms: None }),
            Next::GiveUp
        );
    }

    #[test]
    fn one_hopeless_item_does_not_sink_the_others() {
        let end = |wanted| End::Hopeless {
            fewer_may: true,
            wanted,
        };
        assert_eq!(verdict(at(Form::FRESH, 0), end(2)), Next::Split);
        assert_eq!(verdict(at(Form::FRESH, 0), end(1)), Next::GiveUp);
        assert_eq!(
            verdict(at(Form::FRESH, 0), End::Refused { missing: 4 }),
            Next::Split
        );
        assert_eq!(
            verdict(at(Form::FRESH, 0), End::Refused { missing: 1 }),
            Next::GiveUp
        );
    }

    #[test]
    fn a_paused_turn_goes_on_until_the_attempts_are_used_up() {
        let (form, tries) = form_of(verdict(at(Form::FRESH, 0), End::Paused));
        assert_eq!((form.resume, form.repair, tries), (true, false, 1));
        assert_eq!(form_of(verdict(at(form, 1), End::Paused)), (form, 2));
        assert_eq!(verdict(at(form, 4), End::Paused), Next::GiveUp);
        // What comes of it in the end may be faulty like any answer.
        let (form, _) = form_of(verdict(at(form, 2), End::Answered { missing: 1 }));
        assert_eq!((form.resume, form.repair), (false, true));
    }

    #[test]
    fn a_refused_schema_is_left_out_once() {
        let (form, tries) = form_of(verdict(at(Form::FRESH, 0), End::Reshape));
        assert_eq!((form.plain, tries), (true, 0));
        assert_eq!(verdict(at(form, 0), End::Reshape), Next::GiveUp);
    }

    #[test]
    fn waits_stay_within_their_bounds() {
        assert_eq!(wait_ms(Wait::None, 0.9, 500, 30_000), 0);
        assert_eq!(wait_ms(Wait::For(1_000), 0.5, 500, 30_000), 1_050);
        assert_eq!(wait_ms(Wait::Backoff(0), 0.0, 500, 30_000), 1);
        assert_eq!(wait_ms(Wait::Backoff(3), 1.0, 500, 30_000), 4_000);
        assert_eq!(wait_ms(Wait::Backoff(u32::MAX), 1.0, 500, 30_000), 30_000);
    }

    #[test]
    fn forms_read_back() {
        for repair in [false, true] {
            for plain in [false, true] {
                let form = Form {
                    repair,
                    plain,
                    resume: false,
                };
                assert_eq!(Form::parse(form.as_str()), form);
            }
        }
        for plain in [false, true] {
            let form = Form {
                resume: true,
                plain,
                ..Form::FRESH
            };
            assert_eq!(Form::parse(form.as_str()), form);
        }
        assert_eq!(Form::parse("?"), Form::FRESH);
    }
}

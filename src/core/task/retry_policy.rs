//! What becomes of a task when a call has ended: the one place that decides about repair, retry,
//! splitting and giving up.

/// In the place of a form: the task reads a page first, and asks nothing yet.
pub const FETCH: &str = "fetch";

/// How a task asks next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestMode {
    /// The last answer and its faults are shown to the model.
    pub repair: bool,
    /// The model goes on with its own turn, which a server tool had paused.
    pub resume: bool,
    /// Without a schema for the API to enforce: it refused ours; our own check decides alone.
    pub plain: bool,
}

impl RequestMode {
    pub const FRESH: RequestMode = RequestMode {
        repair: false,
        resume: false,
        plain: false,
    };

    /// From the start again: what the API refused of the form stays out.
    #[must_use]
    pub fn afresh(self) -> RequestMode {
        RequestMode {
            plain: self.plain,
            ..RequestMode::FRESH
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
    pub fn parse(text: &str) -> RequestMode {
        RequestMode {
            repair: text.starts_with("repair"),
            resume: text.starts_with("resume"),
            plain: text.ends_with("+plain"),
        }
    }
}

/// Where the task stood when the call began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub form: RequestMode,
    /// Calls that counted, before this one. They are the items': both halves of a split task begin with them.
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
    /// An answer came that nothing could be read from: which of the items is at fault is not known. `missing` as above.
    Void { missing: u32 },
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
        form: RequestMode,
        tries: u32,
        delays: u32,
        wait: Wait,
    },
    /// The items without a result go on in two tasks, both in a new form and with this count of tries.
    Split { tries: u32 },
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
    let again = |form: RequestMode, wait: Wait| Next::Again {
        form,
        tries,
        delays: 0,
        wait,
    };
    let fresh = RequestMode {
        plain: standing.form.plain,
        ..RequestMode::FRESH
    };
    match end {
        End::Answered { missing: 0 } | End::Refused { missing: 0 } => Next::Done,
        // A repair is one more look at the same items; what it does not mend is better asked for in two halves,
        // so that one bad item cannot sink the others.
        // Mending is the cheap model's, once: it costs a fraction of what the next one asks, and mostly helps.
        End::Answered { missing } if standing.form.repair => {
            if standing.dearer {
                Next::Up
            } else if !left {
                Next::GiveUp
            } else if missing > 1 {
                Next::Split { tries }
            } else {
                again(fresh, Wait::None)
            }
        }
        End::Answered { .. } => {
            if left {
                again(
                    RequestMode {
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
        // Looked for by halves as with a refusal. Each half has a call and a repair at least, however many came before; that
        // whole stages come to nothing is the business of the stage.
        End::Void { missing } if standing.form.repair && !standing.dearer && missing > 1 => {
            Next::Split {
                tries: tries.min(standing.max_attempts.saturating_sub(2)),
            }
        }
        End::Void { missing } => verdict(standing, End::Answered { missing }),
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
                    RequestMode {
                        resume: true,
                        ..fresh
                    },
                    Wait::None,
                )
            } else {
                Next::GiveUp
            }
        }
        // Of several items nobody knows which one was meant: to look for it by halves costs no attempt of the others.
        End::Refused { missing } => {
            if missing > 1 {
                Next::Split {
                    tries: standing.tries,
                }
            } else if standing.dearer {
                Next::Up
            } else {
                Next::GiveUp
            }
        }
        // What it was sent again for nothing is not given anew with each attempt: its delays stay.
        End::Failed { after_ms } => {
            if left {
                Next::Again {
                    form: standing.form,
                    tries,
                    delays: standing.delays,
                    wait: after_ms.map_or(Wait::Backoff(standing.tries), Wait::For),
                }
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
            form: RequestMode {
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
        } if wanted > 1 => Next::Split {
            tries: standing.tries,
        },
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

    const REPAIR: RequestMode = RequestMode {
        repair: true,
        ..RequestMode::FRESH
    };

    fn at(form: RequestMode, tries: u32) -> Standing {
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
        let (form, _) = form_of(verdict(cheap(RequestMode::FRESH, 0), end(3)));
        assert!(form.repair);
        assert_eq!(verdict(cheap(REPAIR, 1), end(3)), Next::Up);
        assert_eq!(verdict(cheap(REPAIR, 1), end(1)), Next::Up);
        assert_eq!(verdict(cheap(REPAIR, 1), end(0)), Next::Done);
        assert_eq!(verdict(cheap(RequestMode::FRESH, 4), end(1)), Next::Up);
        // Of several that are refused together it is not known which one was meant.
        assert_eq!(
            verdict(cheap(RequestMode::FRESH, 0), End::Refused { missing: 3 }),
            Next::Split { tries: 0 }
        );
        assert_eq!(
            verdict(cheap(RequestMode::FRESH, 0), End::Refused { missing: 1 }),
            Next::Up
        );
        // What is no answer says nothing about the model.
        let failed = End::Failed { after_ms: None };
        assert_eq!(verdict(cheap(RequestMode::FRESH, 4), failed), Next::GiveUp);
    }

    fn form_of(next: Next) -> (RequestMode, u32) {
        match next {
            Next::Again { form, tries, .. } => (form, tries),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_faulty_answer_is_repaired_then_split_then_asked_afresh_until_the_attempts_are_used_up() {
        let end = |missing| End::Answered { missing };
        assert_eq!(
            form_of(verdict(at(RequestMode::FRESH, 0), end(3))),
            (REPAIR, 1)
        );
        assert_eq!(verdict(at(REPAIR, 1), end(3)), Next::Split { tries: 2 });
        // What no half can bring either is not split for ever.
        assert_eq!(verdict(at(REPAIR, 4), end(3)), Next::GiveUp);
        assert_eq!(
            form_of(verdict(at(REPAIR, 1), end(1))),
            (RequestMode::FRESH, 2)
        );
        assert_eq!(
            form_of(verdict(at(RequestMode::FRESH, 2), end(1))),
            (REPAIR, 3)
        );
        assert_eq!(verdict(at(REPAIR, 4), end(1)), Next::GiveUp);
        assert_eq!(verdict(at(RequestMode::FRESH, 4), end(1)), Next::GiveUp);
        assert_eq!(verdict(at(REPAIR, 4), end(0)), Next::Done);
    }

    #[test]
    fn one_item_that_spoils_whole_answers_is_looked_for_by_halves() {
        let end = |missing| End::Void { missing };
        assert_eq!(
            form_of(verdict(at(RequestMode::FRESH, 0), end(8))),
            (REPAIR, 1)
        );
        assert_eq!(verdict(at(REPAIR, 1), end(8)), Next::Split { tries: 2 });
        assert_eq!(verdict(at(REPAIR, 4), end(4)), Next::Split { tries: 3 });
        assert_eq!(verdict(at(REPAIR, 4), end(1)), Next::GiveUp);
        assert_eq!(verdict(at(RequestMode::FRESH, 4), end(4)), Next::GiveUp);
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
        assert_eq!(
            verdict(at(RequestMode::FRESH, 3), end(2)),
            Next::Split { tries: 3 }
        );
        assert_eq!(verdict(at(RequestMode::FRESH, 0), end(1)), Next::GiveUp);
        assert_eq!(
            verdict(at(RequestMode::FRESH, 0), End::Refused { missing: 4 }),
            Next::Split { tries: 0 }
        );
        assert_eq!(
            verdict(at(RequestMode::FRESH, 0), End::Refused { missing: 1 }),
            Next::GiveUp
        );
    }

    #[test]
    fn a_paused_turn_goes_on_until_the_attempts_are_used_up() {
        let (form, tries) = form_of(verdict(at(RequestMode::FRESH, 0), End::Paused));
        assert_eq!((form.resume, form.repair, tries), (true, false, 1));
        assert_eq!(form_of(verdict(at(form, 1), End::Paused)), (form, 2));
        assert_eq!(verdict(at(form, 4), End::Paused), Next::GiveUp);
        // What comes of it in the end may be faulty like any answer.
        let (form, _) = form_of(verdict(at(form, 2), End::Answered { missing: 1 }));
        assert_eq!((form.resume, form.repair), (false, true));
    }

    #[test]
    fn a_refused_schema_is_left_out_once() {
        let (form, tries) = form_of(verdict(at(RequestMode::FRESH, 0), End::Reshape));
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
                let form = RequestMode {
                    repair,
                    plain,
                    resume: false,
                };
                assert_eq!(RequestMode::parse(form.as_str()), form);
            }
        }
        for plain in [false, true] {
            let form = RequestMode {
                resume: true,
                plain,
                ..RequestMode::FRESH
            };
            assert_eq!(RequestMode::parse(form.as_str()), form);
        }
        assert_eq!(RequestMode::parse("?"), RequestMode::FRESH);
    }
}

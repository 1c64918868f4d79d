//! What is admitted, and what is not: limits, budgets, the breaker, order.

use super::*;

fn bucket(limit: f64, level: f64) -> Bucket {
    Bucket {
        limit,
        cap: limit,
        level,
    }
}

fn class(requests: f64) -> Class {
    Class {
        name: "haiku-5-5".into(),
        seen: true,
        requests: bucket(600.0, requests),
        input: bucket(1e9, 1e9),
        output: bucket(1e9, 1e9),
        ..Class::default()
    }
}

#[test]
fn only_a_class_with_much_to_spare_is_claimed_from_ahead() {
    assert!(class(600.0).roomy(0, 50, 10.0, 10.0));
    assert!(!class(99.0).roomy(0, 50, 10.0, 10.0));
    assert!(!class(600.0).roomy(0, 50, 1e8, 10.0));
    assert!(!class(600.0).roomy(0, 50, 10.0, 1e8));
    let refused = Class {
        window: Some(40.0),
        ..class(600.0)
    };
    assert!(!refused.roomy(0, 1, 1.0, 1.0));
    let unknown = Class {
        seen: false,
        ..class(600.0)
    };
    assert!(!unknown.roomy(0, 1, 1.0, 1.0));
}

fn job(id: &str) -> Job {
    Job {
        id: id.into(),
        tenant: "default".into(),
        in_flight: 0,
        in_batches: false,
        concurrency: 50,
        budget: None,
        day: None,
        token_budget: None,
    }
}

fn task(job: usize, idx: u32) -> Candidate {
    Candidate {
        job,
        class: 0,
        idx,
        input: 100.0,
        output: 100.0,
        worst: 10,
        free: false,
        shared: None,
    }
}

fn indexes(admission: &Admission) -> Vec<usize> {
    admission.take.iter().map(|taken| taken.task).collect()
}

fn snapshot(classes: Vec<Class>, jobs: Vec<Job>, tasks: Vec<Candidate>) -> Snapshot {
    Snapshot {
        now: 0,
        slots: 100,
        governor_start: 50,
        breaker: Breaker::Closed,
        account_day: None,
        classes,
        jobs,
        token_budgets: Vec::new(),
        prefixes: Vec::new(),
        patience_ms: 20_000,
        tasks,
    }
}

fn many(job: usize, n: u32) -> Vec<Candidate> {
    (0..n).map(|idx| task(job, idx)).collect()
}

#[test]
fn permits_are_never_overdrawn_and_the_wait_is_what_the_refill_takes() {
    let decided = admit(&snapshot(vec![class(3.0)], vec![job("a")], many(0, 10)));
    assert_eq!(decided.take.len(), 3);
    // 600 a minute is one in 100 ms, counted at 97 %.
    assert_eq!(decided.wait_ms, Some(104));
}

#[test]
fn a_call_larger_than_the_known_bucket_goes_alone() {
    let small = Class {
        input: bucket(60_000.0, 500.0),
        ..class(100.0)
    };
    let large = Candidate {
        input: 700.0,
        ..task(0, 0)
    };
    let tasks = vec![large, task(0, 1)];
    let decided = admit(&snapshot(
        vec![small.clone()],
        vec![job("a")],
        tasks.clone(),
    ));
    assert_eq!(indexes(&decided), vec![1]);
    let full = Class {
        input: Bucket {
            limit: 60_000.0,
            cap: 500.0,
            level: 450.0,
        },
        ..small
    };
    let decided = admit(&snapshot(vec![full.clone()], vec![job("a")], tasks.clone()));
    assert_eq!(indexes(&decided), vec![0]);
    let busy = Class {
        in_flight: 1,
        ..full
    };
    let decided = admit(&snapshot(vec![busy], vec![job("a")], tasks));
    assert_eq!(indexes(&decided), vec![1]);
}

/// Or the claim's guard would refuse both, for ever.
#[test]
fn the_account_s_day_is_shared_by_tenants() {
    let other = Job {
        tenant: "other".into(),
        ..job("b")
    };
    let tasks = vec![task(0, 0), task(1, 0)];
    let mut both = snapshot(vec![class(100.0)], vec![job("a"), other], tasks);
    both.account_day = Some(15);
    let decided = admit(&both);
    assert_eq!(indexes(&decided), [0]);
    // What the first reserves may come back.
    assert_eq!(decided.over_day, [] as [usize; 0]);
    both.account_day = Some(5);
    assert_eq!(admit(&both).over_day, [0, 1]);
}

#[test]
fn an_open_breaker_halts_what_only_calls_could_bring_on() {
    let free = Candidate {
        free: true,
        ..task(1, 0)
    };
    let jobs = vec![job("a"), job("b"), job("c")];
    let tasks = vec![task(0, 0), free, task(1, 1)];
    let open = Snapshot {
        breaker: Breaker::Open { until: 9_000 },
        ..snapshot(vec![class(100.0)], jobs, tasks)
    };
    let decided = admit(&open);
    assert_eq!((indexes(&decided), decided.halted), (vec![1], vec![0]));
    assert_eq!(decided.wait_ms, Some(9_000));
}

#[test]
fn an_unknown_class_is_bounded_by_calls_in_flight() {
    let unknown = Class {
        in_flight: 45,
        ..Class::default()
    };
    let decided = admit(&snapshot(vec![unknown], vec![job("a")], many(0, 10)));
    assert_eq!(decided.take.len(), 5);
    assert_eq!(decided.wait_ms, None);
}

#[test]
fn the_job_with_the_fewest_calls_goes_first() {
    let busy = Job {
        in_flight: 4,
        ..job("a")
    };
    let tasks = [many(0, 8), many(1, 8)].concat();
    let decided = admit(&snapshot(
        vec![class(6.0)],
        vec![busy, job("b")],
        tasks.clone(),
    ));
    let of = |job| {
        decided
            .take
            .iter()
            .filter(|taken| tasks[taken.task].job == job)
            .count()
    };
    assert_eq!((of(0), of(1)), (1, 5));
}

#[test]
fn concurrency_counts_calls_in_flight() {
    let nearly = Job {
        in_flight: 48,
        ..job("a")
    };
    let decided = admit(&snapshot(vec![class(100.0)], vec![nearly], many(0, 10)));
    assert_eq!(decided.take.len(), 2);
}

#[test]
fn the_budget_is_never_passed_and_exhaustion_is_named_only_when_nothing_can_free_some() {
    let poor = Job {
        budget: Some(25),
        ..job("a")
    };
    let decided = admit(&snapshot(
        vec![class(100.0)],
        vec![poor.clone()],
        many(0, 10),
    ));
    assert_eq!(decided.take.len(), 2);
    assert!(decided.over_budget.is_empty());
    let broke = Job {
        budget: Some(9),
        ..poor
    };
    let decided = admit(&snapshot(
        vec![class(100.0)],
        vec![broke.clone()],
        many(0, 1),
    ));
    assert_eq!((decided.take.len(), decided.over_budget), (0, vec![0]));
    let waiting = Job {
        in_flight: 1,
        ..broke
    };
    let decided = admit(&snapshot(vec![class(100.0)], vec![waiting], many(0, 1)));
    assert!(decided.over_budget.is_empty());
}

#[test]
fn jobs_of_one_tenant_share_its_day() {
    let job = |id: &str| Job {
        day: Some(15),
        ..job(id)
    };
    let mut tasks = many(0, 1);
    tasks.extend(many(1, 1));
    let jobs = vec![job("a"), job("b")];
    let decided = admit(&snapshot(vec![class(100.0)], jobs, tasks));
    assert_eq!(decided.take.len(), 1);
}

#[test]
fn the_day_s_cap_is_told_from_the_budget() {
    let day = Job {
        day: Some(5),
        ..job("a")
    };
    let decided = admit(&snapshot(vec![class(100.0)], vec![day], many(0, 3)));
    assert_eq!((decided.over_budget, decided.over_day), (vec![], vec![0]));
}

#[test]
fn the_jobs_of_a_token_share_its_caps() {
    let of_token = |id: &str| Job {
        token_budget: Some(0),
        ..job(id)
    };
    let shot = |token_budget: TokenBudget| Snapshot {
        token_budgets: vec![token_budget],
        ..snapshot(
            vec![class(100.0)],
            vec![of_token("a"), of_token("b"), job("c")],
            [many(0, 5), many(1, 5), many(2, 5)].concat(),
        )
    };
    let of = |decided: &Admission, jobs: std::ops::Range<usize>| {
        let tasks = jobs.start * 5..jobs.end * 5;
        decided
            .take
            .iter()
            .filter(|taken| tasks.contains(&taken.task))
            .count()
    };
    let narrow = TokenBudget {
        in_flight: 1,
        concurrency: Some(4),
        day: None,
    };
    let decided = admit(&shot(narrow));
    assert_eq!((of(&decided, 0..2), of(&decided, 2..3)), (3, 5));
    let poor = TokenBudget {
        day: Some(45),
        ..TokenBudget::default()
    };
    let decided = admit(&shot(poor));
    assert_eq!((of(&decided, 0..2), of(&decided, 2..3)), (4, 5));
    assert!(decided.over_day.is_empty());
    // What is in flight may give back what it reserved.
    let waiting = TokenBudget {
        in_flight: 1,
        day: Some(9),
        ..TokenBudget::default()
    };
    let decided = admit(&shot(waiting.clone()));
    assert_eq!((of(&decided, 0..2), decided.over_day), (0, vec![]));
    let broke = TokenBudget {
        in_flight: 0,
        ..waiting
    };
    assert_eq!(admit(&shot(broke)).over_day, [0, 1]);
}

#[test]
fn an_open_breaker_lets_nothing_out_but_free_answers() {
    let mut shot = snapshot(vec![class(100.0)], vec![job("a")], many(0, 3));
    shot.breaker = Breaker::Open { until: 5_000 };
    shot.tasks[1].free = true;
    let decided = admit(&shot);
    assert_eq!((indexes(&decided), decided.wait_ms), (vec![1], Some(5_000)));
}

#[test]
fn a_half_open_breaker_lets_one_probe_out() {
    let mut shot = snapshot(
        vec![class(100.0)],
        vec![job("a"), job("b")],
        [many(0, 3), many(1, 3)].concat(),
    );
    shot.breaker = Breaker::HalfOpen { probing: false };
    let decided = admit(&shot);
    assert_eq!((decided.take.len(), decided.probe), (1, true));
    shot.breaker = Breaker::HalfOpen { probing: true };
    assert!(admit(&shot).take.is_empty());
}

#[test]
fn overload_bounds_the_whole_class_but_never_stops_it() {
    let mut slow = class(100.0);
    slow.window = Some(0.3);
    let decided = admit(&snapshot(vec![slow.clone()], vec![job("a")], many(0, 5)));
    assert_eq!(decided.take.len(), 1);
    slow.slow_until = 700;
    let decided = admit(&snapshot(vec![slow], vec![job("a")], many(0, 5)));
    assert_eq!((decided.take.len(), decided.wait_ms), (0, Some(700)));
}

#[test]
fn a_call_larger_than_the_bucket_goes_when_the_bucket_is_full() {
    let mut small = class(100.0);
    small.input = bucket(50.0, 50.0);
    let decided = admit(&snapshot(vec![small], vec![job("a")], many(0, 2)));
    // The other goes when this one has ended: there is nothing to wait for by the clock.
    assert_eq!((decided.take.len(), decided.wait_ms), (1, None));
}

#[test]
fn slots_bound_calls_but_not_free_answers() {
    let mut shot = snapshot(vec![class(100.0)], vec![job("a")], many(0, 10));
    shot.slots = 2;
    for task in &mut shot.tasks[5..] {
        task.free = true;
    }
    assert_eq!(admit(&shot).take.len(), 7);
}

const PRICE: TokenPrice = TokenPrice {
    plain: 100,
    write_5m: 125,
    write_1h: 200,
    read: 10,
};

fn sharing(mut shot: Snapshot) -> Snapshot {
    shot.prefixes = vec![Entry::default()];
    for task in &mut shot.tasks {
        task.shared = Some(Shared {
            prefix: 0,
            price: PRICE,
            calls: 10,
            input: 20.0,
            extra: [5, 15],
        });
    }
    shot
}

#[test]
fn one_call_writes_a_prefix_and_the_others_go_once_its_head_has_come() {
    let mut shot = sharing(snapshot(vec![class(100.0)], vec![job("a")], many(0, 10)));
    let decided = admit(&shot);
    let short = CacheTtl::FiveMinutes;
    let lead = Taken {
        task: 0,
        mark: Mark::Write(short),
        input: 100.0,
        worst: 15,
    };
    assert_eq!((decided.take, decided.wait_ms), (vec![lead], Some(20_000)));
    // Another consumer sees that it is led; tasks with another beginning do not wait.
    shot.now = 5_000;
    shot.prefixes[0] = shot.prefixes[0].led(0, short);
    shot.tasks[3].shared = None;
    let decided = admit(&shot);
    assert_eq!(
        (indexes(&decided), decided.wait_ms),
        (vec![3], Some(15_000))
    );
    assert!(decided.over_budget.is_empty());
    shot.prefixes[0].warm_until = 10_000;
    let decided = admit(&shot);
    assert_eq!(decided.take.len(), 10);
    let reads = decided
        .take
        .iter()
        .filter(|taken| taken.mark == Mark::Read(short));
    assert!(
        reads
            .clone()
            .all(|taken| (taken.input, taken.worst) == (20.0, 15))
    );
    assert_eq!(reads.count(), 9);
}

#[test]
fn a_prefix_that_one_call_wants_is_not_written() {
    let mut shot = sharing(snapshot(vec![class(100.0)], vec![job("a")], many(0, 1)));
    shot.tasks[0].shared = shot.tasks[0]
        .shared
        .map(|shared| Shared { calls: 1, ..shared });
    assert_eq!(admit(&shot).take[0].mark, Mark::Plain);
}

#[test]
fn what_the_limiter_lets_through_once_in_many_minutes_is_kept_for_an_hour() {
    // 10 tokens of input in a minute, and 100 after what is shared: a call in ten minutes.
    let slow = Class {
        input: bucket(10.0, 1_000.0),
        ..class(100.0)
    };
    let mut shot = sharing(snapshot(vec![slow], vec![job("a")], many(0, 10)));
    for task in &mut shot.tasks {
        task.shared = task.shared.map(|shared| Shared {
            input: 100.0,
            ..shared
        });
    }
    assert_eq!(admit(&shot).take[0].mark, Mark::Write(CacheTtl::OneHour));
}

#[test]
fn a_budget_that_does_for_a_call_without_a_mark_is_spent_on_that() {
    let poor = Job {
        budget: Some(24),
        ..job("a")
    };
    let mut shot = sharing(snapshot(vec![class(100.0)], vec![poor], many(0, 10)));
    shot.prefixes[0].warm_until = 10_000;
    let decided = admit(&shot);
    let marks: Vec<Mark> = decided.take.iter().map(|taken| taken.mark).collect();
    assert_eq!(marks, [Mark::Read(CacheTtl::FiveMinutes)]);
    let poorer = Job {
        budget: Some(14),
        ..job("a")
    };
    shot.jobs = vec![poorer];
    let decided = admit(&shot);
    assert_eq!((decided.take.len(), decided.take[0].mark), (1, Mark::Plain));
}

#[test]
fn reading_takes_fewer_permits() {
    let narrow = Class {
        input: bucket(1_000.0, 250.0),
        ..class(100.0)
    };
    let mut shot = sharing(snapshot(vec![narrow], vec![job("a")], many(0, 20)));
    assert_eq!(admit(&shot).take.len(), 1);
    shot.prefixes[0].warm_until = 10_000;
    assert_eq!(admit(&shot).take.len(), 12);
}

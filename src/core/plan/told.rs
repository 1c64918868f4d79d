//! Instructions as workers read them: the job's task stands where a stage's instructions name it, or in their place.

/// The name of the task in instructions.
const TASK: [&str; 2] = ["{{task}}", "{{ task }}"];
/// Bytes that the instructions of all stages may have, once the task stands in them: each is held as a prompt.
pub const MOST_BYTES: usize = 2_000_000;

/// The instructions of a stage with the task in the place of its name; the task itself where there are none. What the
/// task holds is never looked at again.
pub fn instructions(task: &str, written: &str) -> String {
    if written.trim().is_empty() {
        return task.trim().to_owned();
    }
    let [plain, spaced] = TASK;
    let parts: Vec<&str> = written
        .split(plain)
        .flat_map(|part| part.split(spaced))
        .collect();
    parts.join(task.trim())
}

/// Bytes of the same, which are reckoned and not written: a task of a megabyte may be named ten thousand times.
pub fn len(task: &str, written: &str) -> usize {
    let task = task.trim().len();
    if written.trim().is_empty() {
        return task;
    }
    TASK.iter().fold(written.len(), |len, name| {
        let times = written.matches(name).count();
        (len - times * name.len()).saturating_add(times.saturating_mul(task))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_stands_where_it_is_named_and_where_there_is_nothing_else() {
        let cases = [
            ("", "Find {{task}}"),
            ("  ", "Find {{task}}"),
            ("For: {{task}}", "For: Find {{task}}"),
            ("{{ task }} / {{task}}.", "Find {{task}} / Find {{task}}."),
            ("{{ tasks }} {task}", "{{ tasks }} {task}"),
        ];
        for (written, told) in cases {
            assert_eq!(instructions(" Find {{task}}\n", written), told);
            assert_eq!(len(" Find {{task}}\n", written), told.len(), "{written}");
        }
    }
}

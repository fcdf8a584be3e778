//! What idempotency keys promise, checked by the answers alone.

use std::collections::BTreeMap;

use super::replay::Entry;

/// The life of a key that the last `new` began.
struct Life {
    task: String,
    hash: String,
    /// It ends between these two times.
    ends_since: i64,
    ends_until: i64,
    aborted: bool,
    in_flight: bool,
    /// The life after COMPLETE, from BEGIN.
    px: i64,
    /// An answer was lost since.
    doubtful: bool,
}

const DAY: i64 = 86_400_000;

fn option(words: &[&str], name: &str) -> Option<i64> {
    words.iter().position(|word| *word == name).map(|place| words[place + 1].parse().unwrap())
}

/// At most one `new` for each life of a key; everybody else is told of the one who began, and is told right.
pub fn check(entries: &[Entry]) -> Result<(), String> {
    let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
    for entry in entries {
        let words = entry.words();
        let fault = |what: &str| Err(format!("{what}: {entry:?}"));
        let (command, key, rest) = match &words[..] {
            [command, key, rest @ ..] if command.starts_with("MIROIR.IDEMP.") => (*command, *key, rest),
            _ => continue,
        };
        let Some(answer) = entry.answer() else {
            if let Some(life) = lives.get_mut(key) {
                life.doubtful = true;
            }
            continue;
        };
        let life = lives.get_mut(key);
        let certainly = |life: &Life| !life.doubtful && !life.aborted && entry.until < life.ends_since;
        let impossible = |life: &Life| !life.doubtful && (life.aborted || entry.since > life.ends_until);
        if command != "MIROIR.IDEMP.BEGIN" {
            let Some(life) = life else { continue };
            let theirs = life.task == rest[0];
            if answer != "1" && theirs && certainly(life) {
                return fault("the one who began was turned away");
            }
            if answer != "1" || life.doubtful {
                continue;
            }
            if !theirs || impossible(life) {
                return fault("a request that is over, or another's, was ended");
            }
            life.aborted = command == "MIROIR.IDEMP.ABORT";
            let prolonged = option(rest, "PX").or(life.in_flight.then_some(life.px));
            if let Some(px) = prolonged.filter(|_| !life.aborted) {
                (life.ends_since, life.ends_until) = (entry.since + px, entry.until + px);
            }
            life.in_flight = false;
            continue;
        }
        let hash = rest[0].to_lowercase();
        let [kind, task, ..] = answer.trim_matches(['[', ']']).split(", ").collect::<Vec<_>>()[..] else {
            return fault("an answer of another shape");
        };
        if kind == "new" {
            if life.is_some_and(|life| certainly(life)) {
                return fault("a second new in one life of the key");
            }
            let (px, lock) = (option(rest, "PX").unwrap_or(DAY), option(rest, "LOCK"));
            let lasts = lock.unwrap_or(px);
            let task = task.to_owned();
            let (ends_since, ends_until) = (entry.since + lasts, entry.until + lasts);
            let in_flight = lock.is_some();
            let life =
                Life { task, hash, ends_since, ends_until, aborted: false, in_flight, px, doubtful: false };
            lives.insert(key, life);
            continue;
        }
        // Without a life that is known only a lost answer can have begun one.
        let Some(life) = life.filter(|life| !life.doubtful) else { continue };
        if impossible(life) {
            return fault("a life that is over was told of");
        }
        if life.task != task {
            return fault("the task of somebody else");
        }
        let right = match kind {
            "mismatch" => life.hash != hash,
            "inflight" => life.hash == hash && life.in_flight,
            _ => kind == "replay" && life.hash == hash && !life.in_flight,
        };
        if !right {
            return fault("not what became of the request");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::idempotency::Idempotency;
    use super::super::replay::{forged, replay};
    use super::check;

    #[test]
    fn forged_histories_of_idempotency_are_rejected() {
        let (hash, other) = ("a".repeat(64), "b".repeat(64));
        let begin = |hash: &str, task: &str, more: &str| {
            format!("MIROIR.IDEMP.BEGIN miroir:idemp:k {hash} {task} {more}")
        };
        let (lock, plain) = (begin(&hash, "t1", "PX 90 LOCK 50"), begin(&hash, "t1", "PX 50"));
        let (same, different) = (begin(&hash, "t2", ""), begin(&other, "t2", ""));
        let complete = "MIROIR.IDEMP.COMPLETE miroir:idemp:k t1";
        let abort = "MIROIR.IDEMP.ABORT miroir:idemp:k t1";
        let begun = (1000, lock.as_str(), "[new, t1]");
        let kept = (1000, plain.as_str(), "[new, t1]");
        let cases = [
            ("second new", vec![begun, (1049, same.as_str(), "[new, t2]")]),
            ("second new", vec![kept, (1049, &same, "[new, t2]")]),
            ("second new", vec![begun, (1049, complete, "1"), (1138, &different, "[new, t2]")]),
            ("life that is over", vec![begun, (1052, &same, "[replay, t1]")]),
            ("life that is over", vec![begun, (1010, abort, "1"), (1011, &same, "[inflight, t1, 39]")]),
            ("of somebody else", vec![begun, (1010, &same, "[inflight, t2, 40]")]),
            ("what became", vec![begun, (1010, &same, "[replay, t1]")]),
            ("what became", vec![begun, (1010, &same, "[mismatch, t1]")]),
            ("what became", vec![begun, (1010, &different, "[inflight, t1, 40]")]),
            ("what became", vec![kept, (1010, &same, "[inflight, t1, 40]")]),
            ("what became", vec![begun, (1010, complete, "1"), (1011, &same, "[inflight, t1, 89]")]),
            ("turned away", vec![begun, (1010, complete, "0")]),
            ("turned away", vec![begun, (1010, complete, "1"), (1090, abort, "-2")]),
            ("another's, was ended", vec![begun, (1052, complete, "1")]),
            ("another's, was ended", vec![begun, (1010, abort, "1"), (1011, abort, "1")]),
            ("another's, was ended", vec![begun, (1010, "MIROIR.IDEMP.ABORT miroir:idemp:k t2", "1")]),
        ];
        for (what, history) in cases {
            let entries = forged(&history);
            let fault = check(&entries).expect_err(what);
            assert!(fault.contains(what), "{fault} instead of {what}");
            assert!(check(&entries[..entries.len() - 1]).is_ok(), "{what}");
            replay(&Idempotency, &entries[..entries.len() - 1]).unwrap();
            assert!(replay(&Idempotency, &entries).is_err(), "the replay accepts: {what}");
        }
    }
}

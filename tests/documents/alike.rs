//! Whether an answer is the one that a page shows, but for what differs from run to run.
//!
//! - A number of ten or more digits is a time or the like: any other such number will do.
//! - A word that the page names in `<!-- any: … -->` stands for any word of its kind: a number for numbers, another word for
//!   what has neither space nor quote.
//! - A line `...` stands for any number of lines.

/// Whether lines are those of a page.
pub fn alike(shown: &[String], real: &[String], any: &[&str]) -> bool {
    match (shown.split_first(), real.split_first()) {
        (None, None) => true,
        (Some((shown_line, rest)), _) if shown_line == "..." => {
            (0..=real.len()).any(|skipped| alike(rest, &real[skipped..], any))
        }
        (Some((shown_line, shown)), Some((real_line, real))) => {
            same_line(shown_line, real_line, any) && alike(shown, real, any)
        }
        _ => false,
    }
}

fn same_line(mut shown: &str, mut real: &str, any: &[&str]) -> bool {
    while !shown.is_empty() {
        let (word, real_word) = (word(shown), self::word(real));
        let is_free = any.contains(&word) || is_long_number(word);
        let fits =
            if is_free { !real_word.is_empty() && kind(word) == kind(real_word) } else { word == real_word };
        if !fits {
            return false;
        }
        (shown, real) = (&shown[word.len()..], &real[real_word.len()..]);
    }
    real.is_empty()
}

/// The word that a line begins with, or what stands between two words.
fn word(line: &str) -> &str {
    let is_between = |letter: char| letter.is_whitespace() || "\"'\\(){}[]:,=".contains(letter);
    let begins_between = line.starts_with(is_between);
    line.split_once(|letter| is_between(letter) != begins_between).map_or(line, |(word, _)| word)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Number,
    LongNumber,
    Other,
}

fn kind(word: &str) -> Kind {
    match word {
        _ if is_long_number(word) => Kind::LongNumber,
        _ if word.bytes().all(|letter| letter.is_ascii_digit()) => Kind::Number,
        _ => Kind::Other,
    }
}

fn is_long_number(word: &str) -> bool {
    word.len() >= 10 && word.bytes().all(|letter| letter.is_ascii_digit())
}

#[test]
fn what_differs_from_run_to_run_is_told_from_what_must_not() {
    let is = |shown: &str, real: &str, any: &[&str]| {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        alike(&lines(shown), &lines(real), any)
    };
    assert!(is("(integer) 1", "(integer) 1", &[]));
    assert!(!is("(integer) 1", "(integer) 2", &[]));
    assert!(!is("(integer) 1", "(integer) 12", &[]) && !is("(integer) 12", "(integer) 1", &[]));
    assert!(is("at 1795236430480", "at 1895236430480", &[]));
    assert!(!is("at 1795236430480", "at 7", &[]) && !is("at 1795236430480", "at soon", &[]));
    assert!(is("(integer) 9992", "(integer) 8", &["9992"]));
    assert!(
        !is("(integer) 9992", "(integer) x", &["9992"]) && !is("(integer) 19992", "(integer) 8", &["9992"])
    );
    assert!(is("{\"at\":1795236430480}", "{\"at\":1795236430481}", &[]));
    assert!(is("\"a1f\"", "\"99b2\"", &["a1f"]) && !is("\"a1f\"", "\"99 b2\"", &["a1f"]));
    assert!(is("a\n...\nd", "a\nb\nc\nd", &[]) && is("a\n...", "a", &[]) && !is("a\n...\nd", "a\nb", &[]));
    assert!(!is("a", "a\nb", &[]) && !is("a\nb", "a", &[]));
}

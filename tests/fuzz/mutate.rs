//! Damage to a call that was good.

use miroir::server::command::Argument;

use super::values::{self, rarely, Chance, Word};

/// Does one to three things to the words behind the name.
pub fn damage(random: &mut Chance, words: &mut Vec<Word>, syntax: &[&Argument]) {
    for _ in 0..random.usize(1..=3) {
        let length = words.len();
        let place = random.usize(1..=length);
        let is_there = place < length;
        match random.u8(..13) {
            0 if is_there => drop(words.remove(place)),
            1 if is_there => words.insert(place, words[place].clone()),
            2 if is_there && length > 2 => words.swap(place, random.usize(1..length)),
            3 | 4 if is_there => words[place] = values::anything(random),
            5 => words.insert(place, values::anything(random)),
            6 => words.truncate(place),
            // A word of the syntax of any command, where it may not belong.
            7 => {
                let tokens: Vec<&str> = syntax.iter().filter_map(|argument| argument.token).collect();
                words.insert(place, tokens[random.usize(..tokens.len())].into());
            }
            8 if is_there => words[place] = values::small_number(random),
            9 if is_there => flip(random, &mut words[place]),
            10 if is_there => {
                let case = if random.bool() { u8::to_ascii_lowercase } else { u8::to_ascii_uppercase };
                words[place].iter_mut().for_each(|byte| *byte = case(byte));
            }
            // The rest of the call once more.
            11 => {
                let rest = words[place.min(length)..].to_vec();
                words.extend(rest);
            }
            12 if rarely(random, 30) => {
                let count = [100, 1000, 5000][random.usize(..3)];
                let word = values::name(random);
                words.extend(std::iter::repeat_n(word, count));
            }
            _ => words.push(values::small_number(random)),
        }
    }
}

/// Changes, adds or removes single bytes.
fn flip(random: &mut Chance, word: &mut Word) {
    if word.is_empty() {
        word.push(random.u8(..));
        return;
    }
    let place = random.usize(..word.len());
    match random.u8(..4) {
        0 => word[place] ^= 1 << random.u8(..8),
        1 => drop(word.remove(place)),
        2 => word.insert(place, random.u8(..)),
        _ => word[place] = b"\0\xff\n\"{:_- "[random.usize(..9)],
    }
}

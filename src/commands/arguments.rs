//! Reading a command's arguments, front to back.

use std::ops::RangeInclusive;

use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::schema::json::{self, Form};
use crate::schema::value::integer;
use crate::server::Arg;

#[cfg(test)]
mod tests;

/// What is left of the arguments.
#[derive(Clone, Copy)]
pub struct Arguments<'a> {
    rest: &'a [Arg<'a>],
}

impl<'a> Arguments<'a> {
    /// All arguments behind the command's name.
    #[must_use]
    pub fn new(all: &'a [Arg<'a>]) -> Self {
        Self { rest: all }
    }

    /// What is left, as it is.
    #[must_use]
    pub fn rest(&self) -> &'a [Arg<'a>] {
        self.rest
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes the next argument.
    ///
    /// # Errors
    /// When there is none.
    pub fn next(&mut self, name: &str) -> Outcome<Arg<'a>> {
        let (first, rest) =
            self.rest.split_first().ok_or_else(|| Failure::argument(name, "a value", None))?;
        self.rest = rest;
        Ok(*first)
    }

    /// Takes this many arguments.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, name: &str, count: usize) -> Outcome<&'a [Arg<'a>]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| {
            let got = format!("{} values", self.rest.len());
            Failure::argument(name, format_args!("{count} values"), Some(got.as_bytes()))
        })?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes the next argument if it is this word, in any case.
    pub fn take_word(&mut self, word: &str) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if first.bytes().eq_ignore_ascii_case(word.as_bytes()) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes this word, in any case.
    ///
    /// # Errors
    /// When the next argument is missing or another one.
    pub fn expect_word(&mut self, word: &str) -> Outcome<()> {
        let got = self.rest.first().map(|argument| argument.bytes());
        if self.take_word(word) {
            Ok(())
        } else {
            Err(Failure::argument(word, format_args!("the word {word} here"), got))
        }
    }

    /// Takes a whole number within a range.
    ///
    /// # Errors
    /// When the argument is missing, no number, or out of the range.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Outcome<i64> {
        let got = self.rest.first().map(|argument| argument.bytes());
        let number = got.and_then(integer).filter(|number| range.contains(number));
        let number = number.ok_or_else(|| {
            Failure::argument(name, format_args!("an integer from {} to {}", range.start(), range.end()), got)
        })?;
        self.rest = &self.rest[1..];
        Ok(number)
    }

    /// Takes a whole number of things, from 0 or 1 on, that bounds an answer or a batch.
    ///
    /// # Errors
    /// When the argument is missing, no number, or out of the range.
    pub fn size(&mut self, name: &str, range: RangeInclusive<i64>) -> Outcome<usize> {
        self.integer(name, range).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// Takes a name of 1 to 512 bytes of UTF-8 without control characters: of a holder, a node, a pod.
    ///
    /// # Errors
    /// When the argument is missing or no such name.
    pub fn name(&mut self, name: &str) -> Outcome<(Arg<'a>, &'a str)> {
        let argument = self.next(name)?;
        keyspace::check_name(argument.bytes())
            .map(|text| (argument, text))
            .map_err(|expected| Failure::argument(name, expected, Some(argument.bytes())))
    }

    /// Takes one of these words, exactly as they are written.
    ///
    /// # Errors
    /// When the argument is missing or another word.
    pub fn one_of(&mut self, name: &str, words: &[&'static str]) -> Outcome<&'static str> {
        let got = self.rest.first().map(|argument| argument.bytes());
        let known = words.iter().find(|word| got == Some(word.as_bytes()));
        let known =
            known.ok_or_else(|| Failure::argument(name, format_args!("one of {}", words.join("|")), got))?;
        self.rest = &self.rest[1..];
        Ok(known)
    }

    /// Takes one of these words, in any case: a choice that belongs to the syntax, not a value to be stored.
    ///
    /// # Errors
    /// When the argument is missing or another word.
    pub fn word_of(&mut self, name: &str, words: &[&'static str]) -> Outcome<&'static str> {
        if let Some(known) = words.iter().find(|word| self.take_word(word)) {
            return Ok(known);
        }
        self.one_of(name, words)
    }

    /// Takes a text of UTF-8, which may be empty.
    ///
    /// # Errors
    /// When the argument is missing, no UTF-8, or longer than `max_bytes`.
    pub fn text(&mut self, name: &str, max_bytes: usize) -> Outcome<&'a str> {
        let bytes = self.bytes(name, max_bytes)?;
        std::str::from_utf8(bytes).map_err(|_| Failure::argument(name, "UTF-8", Some(bytes)))
    }

    /// Takes any bytes, which may be none.
    ///
    /// # Errors
    /// When the argument is missing or longer than `max_bytes`.
    pub fn bytes(&mut self, name: &str, max_bytes: usize) -> Outcome<&'a [u8]> {
        let bytes = self.next(name)?.bytes();
        if bytes.len() > max_bytes {
            let expected = format_args!("at most {max_bytes} bytes (miroir.max-field-bytes)").to_string();
            return Err(Failure::argument(name, expected, Some(bytes)));
        }
        Ok(bytes)
    }

    /// Takes JSON of a form.
    ///
    /// # Errors
    /// When the argument is missing, no such JSON, or longer than `max_bytes`.
    pub fn json(&mut self, name: &str, form: Form, max_bytes: usize) -> Outcome<&'a str> {
        let text = self.text(name, max_bytes)?;
        if json::fits(form, text.as_bytes()) {
            Ok(text)
        } else {
            Err(Failure::argument(name, form.expected(), Some(text.as_bytes())))
        }
    }

    /// The error for an argument that no option of the command explains, or that comes twice.
    ///
    /// # Errors
    /// Always.
    pub fn unexpected<T>(&self, options: &str) -> Outcome<T> {
        let got = self.rest.first().map(|argument| argument.bytes());
        Err(Failure::argument("option", format_args!("{options}, each once"), got))
    }

    /// Errs if anything is left.
    ///
    /// # Errors
    /// For the first argument that is too many.
    pub fn end(&self) -> Outcome<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(extra) => Err(Failure::argument("option", "no further argument", Some(extra.bytes()))),
        }
    }
}

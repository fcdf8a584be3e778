//! What the module is asked, and what it has to answer by the raw keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use miroir::schema::{Kind, Order, Shape, Table, TABLES};
use redis::Value;

use super::super::support::audit::{try_calls, Told};
use super::super::support::Client;
use super::{bytes, error_code, items, patience, send, show, Entry, Sweep, Words};

/// What a question asks for.
#[derive(Debug, Clone)]
pub enum Ask {
    /// LIST of whole rows.
    Rows,
    /// LIST of ids: behind a row, told with its time or without, at most so many.
    Page(Option<(Vec<u8>, Option<i64>)>, usize),
    Count,
    CountBy(&'static str),
    Memory,
}

/// A question to the module whose answer a sweep knows.
#[derive(Debug, Clone)]
pub struct Question {
    pub namespace: &'static str,
    pub table: &'static Table,
    pub filter: Vec<(&'static str, Vec<u8>)>,
    pub ask: Ask,
}

/// How many rows a LIST may answer.
const LARGEST_PAGE: usize = 10_000;

impl Question {
    /// All that can be asked about a namespace without knowing what it holds.
    pub fn whole(namespace: &'static str) -> Vec<Self> {
        let question = |table, ask| Self { namespace, table, filter: Vec::new(), ask };
        let mut all = vec![question(&TABLES[0], Ask::Memory)];
        for table in TABLES.iter().filter(|table| table.shape == Shape::Row) {
            all.extend(
                [Ask::Rows, Ask::Page(None, LARGEST_PAGE), Ask::Count].map(|ask| question(table, ask)),
            );
            all.extend(table.filters.iter().map(|field| question(table, Ask::CountBy(field))));
        }
        all
    }

    /// Filters with values that occur and with others, and whole lists page by page.
    pub fn detailed(namespace: &'static str, sweep: &Sweep, random: &mut fastrand::Rng) -> Vec<Self> {
        let mut all = Vec::new();
        for table in TABLES.iter().filter(|table| table.shape == Shape::Row) {
            let mut filter = Vec::new();
            let rows = sweep.rows(namespace, table);
            for _ in 0..if table.filters.is_empty() { 0 } else { random.usize(..4) } {
                let field = *random.choice(table.filters).unwrap();
                let known = random.choice(&rows).and_then(|row| row.value(field));
                let value = known.filter(|_| random.u8(..) < 230).unwrap_or_else(|| b"none".to_vec());
                let kind = table.field(field.as_bytes()).unwrap().kind;
                // Whether an empty value is a value is not what this test is about.
                if !value.is_empty() && (!matches!(kind, Kind::OneOf(_) | Kind::Flag) || kind.accepts(&value))
                {
                    filter.push((field, value));
                }
            }
            let question = |ask| Self { namespace, table, filter: filter.clone(), ask };
            all.extend([Ask::Rows, Ask::Count].map(question));
            all.extend(table.filters.iter().map(|field| question(Ask::CountBy(field))));
            let selected = question(Ask::Count).selected(sweep);
            // Not so many pages that the model, which sorts for each of them, is busy for long.
            let size = random.usize(1..5).max(selected.len() / 25);
            let mut after = None;
            for page in selected.chunks(size) {
                all.push(question(Ask::Page(after, size)));
                let last = page[page.len() - 1];
                let at = (table.order != Order::Id && last.time() >= 0 && random.bool()).then(|| last.time());
                after = Some((last.id.clone(), at));
            }
            all.push(question(Ask::Page(after, size)));
        }
        all
    }

    pub fn words(&self) -> Words {
        let Self { namespace, table, filter, ask } = self;
        let key = format!("{namespace}:{}", table.segment);
        let mut words = match ask {
            Ask::Memory => return words!["MIROIR.MEMORY", *namespace],
            Ask::Rows | Ask::Page(..) => words!["MIROIR.LIST", key],
            Ask::Count | Ask::CountBy(_) => words!["MIROIR.COUNT", key],
        };
        for (field, value) in filter {
            words.extend(words!["WHERE", *field, &value[..]]);
        }
        match ask {
            Ask::Rows => words.extend(words!["LIMIT", "0", LARGEST_PAGE.to_string()]),
            Ask::Page(after, count) => {
                if let Some((id, at)) = after {
                    words.extend(words!["AFTER", &id[..]]);
                    words.extend(at.iter().flat_map(|at| words!["AT", at.to_string()]));
                }
                words.extend(words!["LIMIT", "0", count.to_string(), "IDS"]);
            }
            Ask::CountBy(field) => words.extend(words!["BY", *field]),
            Ask::Count | Ask::Memory => {}
        }
        words
    }

    /// The answer by the sweep, in the form of [`Self::told`].
    pub fn expected(&self, sweep: &Sweep) -> Vec<String> {
        let rows = self.selected(sweep);
        match &self.ask {
            Ask::Rows => rows.iter().map(|row| self.row_line(&row.id, &row.fields)).collect(),
            Ask::Page(after, count) => {
                let behind = after.as_ref().map_or(0, |(id, _)| {
                    1 + rows.iter().position(|row| row.id == *id).expect("the model knows its own row")
                });
                rows[behind..].iter().take(*count).map(|row| self.key_line(&row.id)).collect()
            }
            Ask::Count => vec![rows.len().to_string()],
            Ask::CountBy(field) => {
                let mut counts = BTreeMap::<Vec<u8>, usize>::new();
                for row in rows {
                    *counts.entry(row.value(field).unwrap_or_default()).or_default() += 1;
                }
                counts.into_iter().map(|(value, rows)| format!("'{}': {rows}", show(&value))).collect()
            }
            Ask::Memory => self.weights(sweep),
        }
    }

    fn key_line(&self, id: &[u8]) -> String {
        show(&miroir::keyspace::key(self.namespace.as_bytes(), self.table.segment, id))
    }

    fn row_line(&self, id: &[u8], fields: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("{}={}", show(name), show(value))).collect();
        format!("{} {{{}}}", self.key_line(id), fields.join(" "))
    }

    fn selected<'s>(&self, sweep: &'s Sweep) -> Vec<&'s Entry> {
        let mut rows = sweep.rows(self.namespace, self.table);
        rows.retain(|row| {
            self.filter.iter().all(|(field, _)| {
                let wanted = self.filter.iter().filter(|(other, _)| other == field);
                let value = row.value(field);
                wanted.into_iter().any(|(_, wanted)| value.as_ref() == Some(wanted))
            })
        });
        rows
    }

    fn weights(&self, sweep: &Sweep) -> Vec<String> {
        let weigh = |table: &dyn Fn(&Entry) -> bool, name: &str| {
            let counted: Vec<_> = sweep
                .entries
                .iter()
                .filter(|entry| {
                    entry.namespace == self.namespace.as_bytes() && !entry.is_stub && table(entry)
                })
                .collect();
            weight_line(
                name,
                i64::try_from(counted.len()).unwrap(),
                i64::try_from(counted.iter().map(|entry| entry.payload).sum::<usize>()).unwrap(),
                i64::try_from(counted.iter().filter(|entry| entry.end >= 0).count()).unwrap(),
            )
        };
        let tables = TABLES.iter().map(|table| weigh(&|entry| entry.table_name == table.name, table.name));
        let mut lines: Vec<_> = tables.chain([weigh(&|_| true, "total")]).collect();
        lines.sort();
        lines
    }

    /// The answer of the module, in a form that can be compared.
    pub fn told(&self, answer: &Value) -> Vec<String> {
        if let Value::ServerError(_) = answer {
            return vec![format!("{answer:?}")];
        }
        match self.ask {
            Ask::Rows => items(answer)
                .iter()
                .map(|row| match items(row) {
                    [id, fields] => {
                        let pairs = items(fields).chunks(2).map(|pair| (bytes(&pair[0]), bytes(&pair[1])));
                        self.row_line(&bytes(id), &pairs.collect())
                    }
                    _ => format!("{row:?}"),
                })
                .collect(),
            Ask::Page(..) => items(answer).iter().map(|id| self.key_line(&bytes(id))).collect(),
            Ask::Count => vec![show(&bytes(answer))],
            Ask::CountBy(_) => {
                let mut pairs: Vec<_> =
                    items(answer).chunks(2).map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect();
                pairs.sort();
                pairs.iter().map(|(value, rows)| format!("'{}': {}", show(value), show(rows))).collect()
            }
            Ask::Memory => {
                let figure = |weights: &Value, name: &str| {
                    let pair = items(weights).chunks(2).find(|pair| bytes(&pair[0]) == name.as_bytes());
                    pair.and_then(|pair| if let Value::Int(figure) = pair[1] { Some(figure) } else { None })
                };
                let mut lines: Vec<_> = items(answer)
                    .chunks(2)
                    .filter(|pair| bytes(&pair[0]) != b"catalog")
                    .map(|pair| {
                        let figure = |name| figure(&pair[1], name).unwrap_or(i64::MIN);
                        let name = show(&bytes(&pair[0]));
                        weight_line(&name, figure("rows"), figure("payload_bytes"), figure("expiring"))
                    })
                    .collect();
                lines.sort();
                lines
            }
        }
    }
}

fn weight_line(name: &str, rows: i64, payload: i64, expiring: i64) -> String {
    format!("{name} rows={rows} payload_bytes={payload} expiring={expiring}")
}

/// The raw keys of the selected database, and how what the module says of them differs.
pub fn check(
    client: &mut Client,
    namespaces: &[&'static str],
    random: &mut fastrand::Rng,
) -> (Sweep, Vec<String>) {
    let compare = |questions: &[Question], answers: &[Value], sweep: &Sweep| -> Vec<String> {
        let fault = |(question, answer): (&Question, &Value)| {
            let difference = difference(&question.expected(sweep), &question.told(answer))?;
            Some(format!("{}: {difference}", show(&question.words().join(&b' '))))
        };
        questions.iter().zip(answers).filter_map(fault).collect()
    };
    // These answers come before anybody has touched the keys: touching one can expire it.
    let questions: Vec<_> = namespaces.iter().flat_map(|name| Question::whole(name)).collect();
    let answers = ask_all(client, &questions);
    let sweep = Sweep::read(client);
    let mut faults = compare(&questions, &answers, &sweep);
    let questions: Vec<_> =
        namespaces.iter().flat_map(|name| Question::detailed(name, &sweep, random)).collect();
    let answers = ask_all(client, &questions);
    faults.extend(compare(&questions, &answers, &sweep));
    (sweep, faults)
}

/// How two lists differ, in a few words; None where they do not.
pub fn difference(expected: &[String], told: &[String]) -> Option<String> {
    if expected == told {
        return None;
    }
    let without = |some: &[String], others: &[String]| -> Vec<String> {
        let others: BTreeSet<_> = others.iter().collect();
        some.iter().filter(|line| !others.contains(line)).take(3).cloned().collect()
    };
    let (missing, extra) = (without(expected, told), without(told, expected));
    if missing.is_empty() && extra.is_empty() {
        return Some(format!("expected the order {expected:?}, told {told:?}"));
    }
    Some(format!(
        "expected {} lines, told {}; missing {missing:?}, extra {extra:?}",
        expected.len(),
        told.len()
    ))
}

/// Sends questions in one go, again while the module says that it is still reading the keys.
pub fn ask_all(client: &mut Client, questions: &[Question]) -> Vec<Value> {
    let commands: Vec<_> = questions.iter().map(Question::words).collect();
    let deadline = Instant::now() + patience();
    loop {
        let answers = send(client, &commands);
        let is_early = answers.iter().any(|answer| error_code(answer) == Some("TRYAGAIN"));
        if !is_early || Instant::now() > deadline {
            return answers;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What AUDIT finds in a namespace, each finding with its key.
pub fn audit(client: &mut Client, namespace: &str) -> BTreeSet<(String, Vec<u8>)> {
    let deadline = Instant::now() + patience();
    let calls = loop {
        match try_calls::<Told>(client, namespace, "COUNT 50") {
            Err(error) if error.code() == Some("TRYAGAIN") && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            calls => break calls.unwrap_or_else(|error| panic!("MIROIR.AUDIT {namespace}: {error}")),
        }
    };
    let told = calls.concat().into_iter().map(|told| {
        assert_eq!(bytes(&told["repaired"]), b"0", "nobody asked for a repair: {told:?}");
        assert!(!bytes(&told["detail"]).is_empty(), "{told:?}");
        (show(&bytes(&told["finding"])), bytes(&told["key"]))
    });
    told.collect()
}

//! Calls of the module's commands, made from what the commands say of themselves: a new command, table or field is
//! tried without a word here.

use miroir::commands;
use miroir::schema::json::Form;
use miroir::schema::{Kind as FieldKind, Origin, Shape, Table, TABLES};
use miroir::server::command::{Access, Argument, Command, Kind, Repeated};

use super::mutate;
use super::values::{self, one, Chance, Word};

/// A lease that is held, so that fences can hold, and its token.
pub const HELD_LEASE: (&str, &str) = ("m:lease:held", "1");

/// What MIROIR.PLAN takes, by the names of its arguments.
const QUANTITIES: &[(&str, &[&str])] = &[
    ("size", &["1mb", "256kib", "64gb", "1", "9223372036854775807"]),
    ("time", &["300s", "5m", "1.5h", "1ms"]),
    ("share", &["0.8", "0", "1"]),
    ("rate", &["10gbps", "500mbps", "1bps"]),
];

/// A call, and what may be said of its answer.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: &'static str,
    pub words: Vec<Word>,
    /// Whether it must leave the data as they are, whatever it answers.
    pub only_reads: bool,
    /// The integers by which it says that nothing changed.
    pub refusals: &'static [i64],
}

/// Makes calls.
pub struct Calls {
    pub random: Chance,
    /// The server's time when the run began.
    pub now: i64,
    commands: Vec<&'static Command>,
    /// The table that the call at hand is about.
    table: &'static Table,
}

impl Calls {
    pub fn new(seed: u64, now: i64) -> Self {
        // This one panics on purpose; only builds for other tests have it.
        let commands = commands::all().filter(|command| command.name != "MIROIR.DEBUG").collect();
        let random = Chance {
            random: fastrand::Rng::with_seed(seed),
            careful: false,
            clean: false,
            focus: &TABLES[0],
        };
        Self { random, now, commands, table: &TABLES[0] }
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.commands.iter().map(|command| command.name).collect()
    }

    /// A call by a command's own syntax, and often damaged after that.
    pub fn next(&mut self) -> Call {
        self.random.careful = self.random.bool();
        self.random.clean = values::rarely(&mut self.random, 3);
        if values::rarely(&mut self.random, 200) {
            self.random.focus = &TABLES[self.random.usize(..TABLES.len())];
        }
        let command = self.any_command();
        let mut words = vec![command.name.as_bytes().to_vec()];
        for argument in command.arguments {
            self.argument(argument, &mut words);
        }
        if self.random.slips(2) {
            let all: Vec<_> = self.commands.iter().flat_map(|command| command.arguments).collect();
            mutate::damage(&mut self.random, &mut words, &all);
        }
        (self.random.careful, self.random.clean) = (false, false);
        let repairs = words.iter().any(|word| word.eq_ignore_ascii_case(b"REPAIR"));
        Call {
            name: command.name,
            words,
            only_reads: command.access == Access::Read && !repairs,
            refusals: refusals(command),
        }
    }

    /// A command, with a structure for it to work on: often the one that most is about.
    fn any_command(&mut self) -> &'static Command {
        let focus = self.random.focus;
        let put = self.commands.iter().find(|command| command.name == "MIROIR.PUT");
        // Without rows there is little that could be done by halves.
        if let Some(put) = put.filter(|_| focus.shape == Shape::Row && values::rarely(&mut self.random, 6)) {
            (self.random.careful, self.table) = (true, focus);
            return put;
        }
        let tries = if self.random.u8(..4) == 0 { 1 } else { 20 };
        for _ in 1..tries {
            let command = self.commands[self.random.usize(..self.commands.len())];
            self.table = self.table_for(command);
            if std::ptr::eq(self.table, focus) {
                return command;
            }
        }
        let command = self.commands[self.random.usize(..self.commands.len())];
        self.table = self.table_for(command);
        command
    }

    /// The structure that a command works on: the one whose family it belongs to, else the one that its name names,
    /// else any table of rows.
    fn table_for(&mut self, command: &Command) -> &'static Table {
        let family = command.name.split('.').nth(1).unwrap_or_default().to_lowercase();
        let is_named = |table: &Table| table.name.replace('_', "").contains(&family);
        let of_family = |table: &&Table| {
            table
                .family
                .split('*')
                .next()
                .is_some_and(|prefix| table.family.ends_with('*') && command.name.starts_with(prefix))
        };
        let named = |table: &&Table| table.shape == Shape::Row && is_named(table);
        // These two work on some tables of rows only.
        let able = |table: &&Table| match command.name {
            "MIROIR.PRUNE" => table.prune.is_some(),
            "MIROIR.TOUCH" => table.shape == Shape::Row && table.life_ms.is_some(),
            _ => false,
        };
        let suits = |table: &&Table| of_family(table) || named(table) || able(table);
        let mut suited: Vec<&Table> = TABLES.iter().filter(suits).collect();
        if suited.is_empty() {
            suited = TABLES.iter().filter(|table| table.shape == Shape::Row).collect();
        }
        if self.random.slips(30) {
            return &TABLES[self.random.usize(..TABLES.len())];
        }
        one(&mut self.random, &suited)
    }

    fn argument(&mut self, argument: &Argument, words: &mut Vec<Word>) {
        if argument.optional && self.random.u8(..3) > 0 {
            return;
        }
        let times = match argument.repeated {
            Repeated::No => 1,
            // These repeat themselves: a field that comes twice is an error.
            _ if is_field_and_value(argument) && !self.random.slips(20) => 1,
            // As often as the number before it says.
            Repeated::Counted => {
                let count = self.random.usize(1..4);
                if let Some(number) = words.last_mut() {
                    *number = count.to_string().into();
                }
                count
            }
            Repeated::Plain | Repeated::WithToken => self.random.usize(1..4),
        };
        for time in 0..times {
            if time == 0 || argument.repeated == Repeated::WithToken {
                words.extend(argument.token.map(Word::from));
            }
            self.value(argument, words);
        }
    }

    fn value(&mut self, argument: &Argument, words: &mut Vec<Word>) {
        let random = &mut self.random;
        let word = match &argument.kind {
            Kind::Word => return,
            Kind::OneOf(choices) => {
                let choice = &choices[random.usize(..choices.len())];
                return self.argument(choice, words);
            }
            _ if is_field_and_value(argument) => return self.fields(argument, words),
            Kind::Block(parts) => {
                if parts.iter().any(|part| matches!(part.kind, Kind::OptionKey)) && random.u8(..8) > 0 {
                    words.extend([HELD_LEASE.0, HELD_LEASE.1].map(Word::from));
                    return;
                }
                return parts.iter().for_each(|part| self.argument(part, words));
            }
            _ if random.slips(40) => values::anything(random),
            Kind::Key => values::key_of(random, self.table, argument.name == "table-key"),
            Kind::OptionKey => values::key(random),
            Kind::Time => values::time(random, self.now),
            Kind::Integer if is_life(argument.name) => values::life(random),
            Kind::Integer if argument.name == "bytes" => values::size(random),
            Kind::Integer => values::small_number(random),
            Kind::String => return self.text(argument.name, words),
        };
        words.push(word);
    }

    /// A text, as its name suggests.
    fn text(&mut self, name: &str, words: &mut Vec<Word>) {
        let random = &mut self.random;
        let is = |part: &str| name.contains(part);
        let word = if is("json") {
            let forms =
                [Form::Any, Form::Object, Form::Array, Form::Uints, Form::Texts, Form::Strings, Form::Flips];
            let form = forms[random.usize(..forms.len())];
            values::json(random, form)
        } else if is("sha256") {
            values::sha256(random)
        } else if let Some((_, quantities)) = QUANTITIES.iter().find(|(kind, _)| *kind == name) {
            one(random, quantities).into()
        } else if name == "table" {
            TABLES[random.usize(..TABLES.len())].name.into()
        } else if is("namespace") {
            values::namespace(random).into()
        } else if is("field") {
            self.field()
        } else if is("status") {
            let of_runs = ["pass", "fail", "error"];
            let of_tasks = ["enqueued", "processing", "succeeded", "failed", "canceled"];
            let is_run = (self.table.shape == Shape::SortedSet) != random.slips(10);
            if is_run {
                one(random, &of_runs).into()
            } else {
                one(random, &of_tasks).into()
            }
        } else {
            values::name(random)
        };
        words.push(word);
    }

    fn field(&mut self) -> Word {
        if self.table.fields.is_empty() || self.random.slips(20) {
            return values::field_name(&mut self.random);
        }
        if !self.table.filters.is_empty() && self.random.bool() {
            return one(&mut self.random, self.table.filters).into();
        }
        self.table.fields[self.random.usize(..self.table.fields.len())].name().into()
    }

    /// Fields with their values: one where the syntax means one, else those that a row needs and some others.
    fn fields(&mut self, argument: &Argument, words: &mut Vec<Word>) {
        let table = self.table;
        if argument.repeated != Repeated::Plain || table.fields.is_empty() || self.random.slips(10) {
            let name = self.field();
            let value = match table.field(&name) {
                Some(field) => values::for_field(&mut self.random, field, self.now),
                None => values::anything(&mut self.random),
            };
            words.extend([name, value]);
            return;
        }
        let kind = table.fields.iter().find_map(|field| match field.origin {
            Origin::RequiredWhen(name, _) => table.field(name.as_bytes()),
            _ => None,
        });
        let chosen = kind.and_then(|field| match field.kind {
            FieldKind::OneOf(words) => Some((field.name(), one(&mut self.random, words))),
            _ => None,
        });
        for field in table.fields {
            let random = &mut self.random;
            let likely = match field.origin {
                Origin::Required => 250,
                Origin::RequiredWhen(_, value) if chosen.is_some_and(|(_, chosen)| chosen == value) => 250,
                Origin::Key(_) | Origin::Expiry | Origin::RequiredWhen(..) => 3,
                _ if field.managed_by.is_some() => 10,
                _ => 60,
            };
            if random.u8(..) > likely {
                continue;
            }
            let value = match chosen {
                Some((name, value)) if name == field.name() && random.u8(..) < 250 => value.into(),
                _ => values::for_field(random, field, self.now),
            };
            words.extend([field.name().into(), value]);
        }
    }
}

fn is_field_and_value(argument: &Argument) -> bool {
    matches!(argument.kind, Kind::Block([field, value]) if field.name == "field" && value.name == "value")
}

fn is_life(name: &str) -> bool {
    ["milliseconds", "-ms", "ttl"].iter().any(|part| name.contains(part))
}

/// By its own documentation: -2 is always "no such row", and 0 a refusal where it says so.
fn refusals(command: &Command) -> &'static [i64] {
    match (command.reply.contains("`-2`"), command.reply.contains("`0` refused")) {
        (true, true) => &[-2, 0],
        (true, false) => &[-2],
        (false, true) => &[0],
        (false, false) => &[],
    }
}

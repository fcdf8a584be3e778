//! Who competes, and what each of them sends.

use std::collections::HashMap;
use std::sync::Arc;

use crate::operations::{Operation, Phase, Times, OPERATIONS};
use crate::settings::Setting;
use crate::support::data::Data;
use crate::support::link::Link;
use crate::support::traffic::{Batch, Script};
use crate::support::Outcome;
use crate::words::{count_trips, trips, Place};

/// How many commands go together where nothing is measured.
const BULK: usize = 200;

/// One of those who compete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The module's command
    Module,
    /// What clients do today
    Client,
    /// A script, by EVALSHA
    Lua,
    /// A function, by FCALL
    Function,
    /// The bare commands that it amounts to
    Native,
}

/// All of them, by their numbers.
pub const SIDES: [Side; 5] = [Side::Module, Side::Client, Side::Lua, Side::Function, Side::Native];
/// All but the module.
pub const OTHERS: [Side; 4] = [Side::Client, Side::Lua, Side::Function, Side::Native];

impl Side {
    /// What the report calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Client => "client-side",
            Self::Lua => "Lua",
            Self::Function => "Function",
            Self::Native => "native",
        }
    }

    /// Whether it runs on the server with the module.
    pub fn has_module(self) -> bool {
        self == Self::Module
    }

    /// What it sends for a part of an operation.
    fn text(self, phase: &Phase, known: &Known) -> String {
        let Phase { name, call, .. } = phase;
        match self {
            Self::Module => phase.module.to_owned(),
            Self::Client => phase.client.to_owned(),
            Self::Lua => format!("EVALSHA {} {call}", known.0[name]),
            Self::Function => format!("FCALL {name} {call}"),
            Self::Native => phase.native.to_owned(),
        }
    }
}

/// The scripts that a server knows, with their hashes by name. The functions bear the same names.
pub struct Known(HashMap<&'static str, String>);

impl Known {
    /// Teaches a server all scripts and functions.
    pub fn teach(link: &mut Link) -> Outcome<Self> {
        let phases = OPERATIONS.iter().flat_map(|operation| operation.phases);
        let all = phases.map(|phase| (phase.name, phase.script));
        let mut hashes = HashMap::new();
        for (name, source) in all.chain(crate::pages::SCRIPTS) {
            if !hashes.contains_key(name) {
                hashes.insert(name, link.ask(&["SCRIPT", "LOAD", source])?);
                let library = format!(
                    "#!lua name={name}\nredis.register_function('{name}', function(KEYS, ARGV)\n{source}\nend)"
                );
                link.ask::<String>(&["FUNCTION", "LOAD", "REPLACE", &library])?;
            }
        }
        Ok(Self(hashes))
    }

    /// The hash of a script.
    pub fn hash(&self, name: &str) -> &str {
        &self.0[name]
    }
}

/// What a side sends in a round, packed.
pub struct Work {
    /// What makes ready for it.
    pub before: Vec<Script>,
    /// What is measured.
    pub phases: Vec<Script>,
}

impl Work {
    /// None where a side needs answers that a pipeline does not wait for.
    pub fn pack(
        operation: &Operation,
        side: Side,
        setting: &Setting,
        known: &Known,
        data: &Data,
        rows: usize,
    ) -> Option<Self> {
        let texts: Vec<String> = operation.phases.iter().map(|phase| side.text(phase, known)).collect();
        if setting.pipeline > 1 && texts.iter().any(|text| count_trips(text) > 1) {
            return None;
        }
        let packed = |text: &str, each: usize, pipeline: usize| -> Script {
            let of_connection = |connection| {
                let place = |turn| Place {
                    data,
                    rows,
                    // Neighbours in time, as far as possible: what is oldest is not all with one connection.
                    operation: turn * setting.connections + connection,
                    connection,
                    turn,
                };
                let places: Vec<Place<'_>> = (0..each).map(place).collect();
                places.chunks(pipeline).flat_map(|places| batches(text, places)).collect()
            };
            Arc::new((0..setting.connections).map(of_connection).collect())
        };
        let before = operation.before.iter().map(|before| {
            let text = if side.has_module() { before.module } else { before.raw };
            let each = match before.times {
                Times::Operation => setting.each,
                Times::Connection(times) => times,
            };
            packed(text, each, BULK)
        });
        let phases = texts.iter().map(|text| packed(text, setting.each, setting.pipeline));
        Some(Self { before: before.collect(), phases: phases.collect() })
    }
}

/// The batches of operations that go together: one for each round trip.
fn batches(text: &str, places: &[Place<'_>]) -> Vec<Batch> {
    let mut pipelines = vec![redis::Pipeline::new(); count_trips(text)];
    for place in places {
        for (pipeline, commands) in pipelines.iter_mut().zip(trips(text, place)) {
            for command in commands {
                pipeline.add_command(command);
            }
        }
    }
    let batch = |pipeline: redis::Pipeline| Batch {
        packed: pipeline.get_packed_pipeline(),
        commands: pipeline.len(),
    };
    pipelines.into_iter().map(batch).collect()
}

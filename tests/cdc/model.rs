//! A random life of a buffer, beside a model of it.

use crate::support::Server;
use crate::{assert_exact, assert_told_exactly, blobs, held, numbers, peek, KEY};

/// One event of the model, with the order in which it came into being.
type Born = (usize, Vec<u8>);

/// Runs random operations beside a model. `raw` adds what clients without the module may do to the list.
fn against_a_model(seed: u64, steps: usize, raw: bool) {
    let server = Server::start();
    let mut client = server.client();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model: Vec<Born> = Vec::new();
    // Acknowledgements on their way: a number, and how many events had been born when it was read.
    let mut late: Vec<(i64, usize)> = Vec::new();
    let (mut births, mut highest, mut dropped) = (0, 0, 0);
    for step in 0..steps {
        let mut birth = |random: &mut fastrand::Rng| -> Born {
            births += 1;
            let mut event = format!("{births}.").into_bytes();
            event.extend((0..random.usize(0..30)).map(|_| random.u8(..)));
            (births, event)
        };
        let what = random.usize(0..if raw { 12 } else { 7 });
        let when = format!("seed {seed}, step {step}, operation {what}");
        match what {
            0 | 1 => {
                let events: Vec<Born> = (0..random.usize(1..5)).map(|_| birth(&mut random)).collect();
                let (budget, reject) = (random.usize(40..400), random.bool());
                let mut words: Vec<Vec<u8>> =
                    [b"MIROIR.CDC.PUSH".to_vec(), KEY.into(), b"BUDGET".to_vec(), budget.to_string().into()]
                        .into();
                words.extend([
                    b"POLICY".to_vec(),
                    if reject { b"reject".to_vec() } else { b"drop-oldest".to_vec() },
                ]);
                words.extend(events.iter().map(|(_, event)| event.clone()));
                let answer = numbers(&mut client, &words);
                let size = |events: &[Born]| events.iter().map(|(_, event)| event.len()).sum::<usize>();
                let takes = !reject || size(&model) + size(&events) <= budget;
                assert_eq!(answer["accepted"], if takes { events.len() as i64 } else { 0 }, "{when}");
                let mut lost = 0;
                if takes {
                    model.extend(events);
                    while size(&model) > budget {
                        model.remove(0);
                        lost += 1;
                    }
                }
                dropped += lost;
                assert_eq!(answer["dropped"], lost, "{when}");
            }
            2 => {
                let count = random.usize(0..4).min(model.len());
                let popped =
                    blobs(client.raw(&["MIROIR.CDC.POP", KEY, "COUNT", &count.to_string()]).unwrap());
                let expected: Vec<_> = model.drain(..count).map(|(_, event)| event).collect();
                assert_eq!(popped, expected, "{when}");
            }
            3 | 4 => {
                if let Some((seq, _)) = peek(&mut client).get(random.usize(0..4)) {
                    late.push((*seq, births));
                }
            }
            5 if !late.is_empty() => {
                let (seq, born) = late.swap_remove(random.usize(0..late.len()));
                let count = usize::try_from(client.integer(&format!("MIROIR.CDC.ACK {KEY} {seq}"))).unwrap();
                let newer = model.drain(..count).any(|(birth, _)| birth > born);
                assert!(!newer, "{when}: ACK {seq} removed an event that came after it was read");
            }
            6 => {
                let budget = random.usize(0..300);
                client.ask(&format!("MIROIR.CDC.TRIM {KEY} BUDGET {budget}"));
                while model.iter().map(|(_, event)| event.len()).sum::<usize>() > budget {
                    model.remove(0);
                    dropped += 1;
                }
            }
            7 | 8 => {
                let event = birth(&mut random);
                let command = if what == 7 { "LPUSH" } else { "RPUSH" };
                client.raw(&[command.as_bytes(), KEY.as_bytes(), &event.1]).unwrap();
                if what == 7 {
                    model.push(event)
                } else {
                    model.insert(0, event)
                }
            }
            9 if !model.is_empty() => {
                client.raw(&["RPOP", KEY]).unwrap();
                model.remove(0);
            }
            10 if !model.is_empty() => {
                let (_, event) = model.remove(random.usize(0..model.len()));
                client.raw(&[b"LREM", KEY.as_bytes(), b"1", &event]).unwrap();
            }
            11 if random.usize(0..10) == 0 => {
                client.ask(&format!("DEL {KEY}"));
                model.clear();
            }
            _ => {}
        }
        let events: Vec<_> = model.iter().map(|(_, event)| event.clone()).collect();
        assert_eq!(held(&mut client), events, "{when}: events");
        if raw {
            assert_told_exactly(&mut client, &when)
        } else {
            assert_exact(&mut client, &when)
        }
        let last = numbers(&mut client, &["MIROIR.CDC.STAT", KEY])["last_seq"];
        assert!(last >= highest, "{when}: the last number fell from {highest} to {last}");
        highest = last;
        if !raw {
            assert_eq!(numbers(&mut client, &["MIROIR.CDC.STAT", KEY])["dropped"], dropped, "{when}");
        }
    }
}

#[test]
fn a_random_life_with_the_module_alone() {
    (1..=3).for_each(|seed| against_a_model(seed, 700, false));
}

#[test]
fn a_random_life_among_raw_clients() {
    (11..=13).for_each(|seed| against_a_model(seed, 700, true));
}

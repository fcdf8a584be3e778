use super::*;
use crate::schema::{table, TABLES};
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;

fn at(name: &str, id: &'static [u8]) -> Circumstances<'static> {
    Circumstances { table: table(name).unwrap(), id, now: NOW, max_field_bytes: 1 << 20 }
}

fn given<'a>(name: &str, pairs: &[(&str, &'a [u8])]) -> Given<'a> {
    let table = table(name).unwrap();
    let mut given = vec![None; table.fields.len()];
    for (field, value) in pairs {
        given[table.position(field.as_bytes()).unwrap()] = Some(*value);
    }
    given
}

fn written(plan: Plan<'_>) -> Vec<(String, String)> {
    let Plan::Write(changes) = plan else { panic!("refused") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    changes.set.iter().map(|(field, value)| (field.name().to_owned(), text(value.bytes()))).collect()
}

fn put_error(name: &str, pairs: &[(&str, &[u8])]) -> String {
    put(at(name, b"x"), &given(name, pairs), Life::Unsaid, &[]).unwrap_err().text().to_owned()
}

#[test]
fn a_new_task_gets_its_defaults() {
    let plan =
        put(at("tasks", b"t1"), &given("tasks", &[("index_uid", b"movies")]), Life::Unsaid, &[]).unwrap();
    let row = written(plan);
    let expected = [
        ("miroir_id", "t1"),
        ("created_at", "1700000000000"),
        ("status", "enqueued"),
        ("node_tasks", "{}"),
        ("node_errors", "{}"),
        ("index_uid", "movies"),
    ];
    assert_eq!(row, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn errors_name_field_expectation_and_what_came() {
    assert_eq!(
        put_error("tasks", &[("status", b"done")]),
        "ERR field 'status' of table tasks: expected one of enqueued|processing|succeeded|failed|canceled, got 'done'"
    );
    assert_eq!(
        put_error("jobs", &[]),
        "ERR field 'type' of table jobs: expected text, not empty, got nothing"
    );
    assert!(
        put_error("tasks", &[("miroir_id", b"other")]).contains("expected 'x', as the key says, got 'other'")
    );
    assert!(put_error("aliases", &[("kind", b"single"), ("target_uids", b"[]"), ("current_uid", b"a")])
        .contains("expected nothing unless kind is multi"));
    assert!(put_error("aliases", &[("kind", b"multi")]).contains("'target_uids'"));
    assert!(put_error("sessions", &[("ttl", b"5")]).contains("after now"));
}

#[test]
fn replacing_removes_what_is_not_given_and_what_is_unknown() {
    let stored: &Stored<'_> = &[(b"miroir_id", b"t1"), (b"error", b"late"), (b"legacy", b"1")];
    let plan = put(at("tasks", b"t1"), &given("tasks", &[]), Life::Unsaid, stored).unwrap();
    let Plan::Write(changes) = plan else { panic!() };
    assert_eq!(changes.remove, [b"error".to_vec(), b"legacy".to_vec()]);
    assert_eq!(changes.expiry, Expiry::Never);
}

#[test]
fn a_canary_keeps_its_creation() {
    let fields: &[(&str, &[u8])] = &[
        ("name", b"n"),
        ("index_uid", b"i"),
        ("interval_s", b"60"),
        ("query_json", b"{}"),
        ("assertions_json", b"[]"),
        ("created_at", b"9"),
    ];
    let new = written(put(at("canaries", b"c"), &given("canaries", fields), Life::Unsaid, &[]).unwrap());
    assert!(new.contains(&("created_at".to_owned(), "9".to_owned())));
    let stored: &Stored<'_> = &[(b"created_at", b"5")];
    let again = written(put(at("canaries", b"c"), &given("canaries", fields), Life::Unsaid, stored).unwrap());
    assert!(again.contains(&("created_at".to_owned(), "5".to_owned())));
}

#[test]
fn lives() {
    let end = |life, pairs: &[(&str, &[u8])]| {
        let plan = put(at("sessions", b"s"), &given("sessions", pairs), life, &[])?;
        let Plan::Write(changes) = plan else { panic!() };
        let Expiry::At(end) = changes.expiry else { panic!() };
        let field = changes.set.iter().find(|(field, _)| field.name() == "ttl").unwrap();
        assert_eq!(field.1.bytes(), end.to_string().as_bytes(), "the field equals the TTL");
        Ok::<_, Failure>(end)
    };
    assert_eq!(end(Life::Unsaid, &[]).unwrap(), NOW + 900_000);
    assert_eq!(end(Life::For(5), &[]).unwrap(), NOW + 5);
    assert_eq!(end(Life::Until(NOW + 9), &[]).unwrap(), NOW + 9);
    assert_eq!(end(Life::Unsaid, &[("ttl", b"1700000000077")]).unwrap(), NOW + 77);
    assert!(end(Life::For(5), &[("ttl", b"1700000000077")]).is_err());
    for bad in [Life::For(0), Life::For(-1), Life::For(i64::MAX), Life::Until(NOW), Life::Until(i64::MIN)] {
        assert!(end(bad, &[]).is_err(), "{bad:?}");
    }
}

#[test]
fn guards() {
    let refused = |name: &str, pairs: &[(&str, &[u8])], stored: &Stored<'_>| {
        put(at(name, b"a:b"), &given(name, pairs), Life::Unsaid, stored).unwrap() == Plan::Refused
    };
    let version: &Stored<'_> = &[(b"version", b"5")];
    assert!(refused("node_settings_version", &[("version", b"4")], version));
    assert!(!refused("node_settings_version", &[("version", b"5")], version));
    let done: &Stored<'_> = &[(b"miroir_id", b"a:b"), (b"status", b"succeeded")];
    assert!(refused("tasks", &[], done));
    assert!(!refused("tasks", &[("status", b"succeeded")], done));
    let running: &Stored<'_> = &[(b"type", b"t"), (b"state", b"in_progress")];
    assert!(refused("jobs", &[("type", b"t")], running));
    let revoked: &Stored<'_> = &[(b"csrf_token", b"c"), (b"admin_key_hash", b"h"), (b"revoked", b"1")];
    assert!(refused("admin_sessions", &[("csrf_token", b"c"), ("admin_key_hash", b"h")], revoked));
    assert!(forbids_touch(table("admin_sessions").unwrap(), revoked));
    assert!(!refused("tasks", &[], &[(b"status", b"succeeded")]), "a stub is no row");
}

#[test]
fn patches() {
    let row: &Stored<'_> = &[(b"type", b"t"), (b"state", b"queued"), (b"error", b"e")];
    let error = patch(at("jobs", b"j"), &given("jobs", &[("state", b"failed")]), row, None).unwrap_err();
    assert!(error.text().contains("MIROIR.JOB.*"));
    let plan = patch(at("jobs", b"j"), &given("jobs", &[("error", b"")]), row, None).unwrap();
    let Plan::Write(changes) = plan else { panic!() };
    assert_eq!(changes.remove, [b"error".to_vec()]);
    assert!(patch(at("jobs", b"j"), &given("jobs", &[("type", b"")]), row, None).is_err());

    let single: &Stored<'_> = &[(b"kind", b"single"), (b"current_uid", b"v1"), (b"target_uids", b"")];
    assert!(patch(at("aliases", b"a"), &given("aliases", &[("kind", b"multi")]), single, None).is_err());
    assert!(patch(at("aliases", b"a"), &given("aliases", &[("current_uid", b"")]), single, None).is_err());
    assert!(patch(at("aliases", b"a"), &given("aliases", &[("current_uid", b"v2")]), single, None).is_ok());
}

#[test]
fn a_patch_dates_the_row_and_leaves_other_faults_alone() {
    let row: &Stored<'_> = &[(b"version", b"1"), (b"updated_at", b"1")];
    let plan = patch(
        at("node_settings_version", b"a:b"),
        &given("node_settings_version", &[("version", b"2")]),
        row,
        None,
    );
    let now = NOW.to_string();
    assert!(written(plan.unwrap()).contains(&("updated_at".to_owned(), now)));
    // A multi alias without targets, as a client without the module left it.
    let odd: &Stored<'_> = &[(b"kind", b"multi"), (b"target_uids", b"")];
    assert!(patch(at("aliases", b"a"), &given("aliases", &[("version", b"2")]), odd, None).is_ok());
    assert!(patch(at("aliases", b"a"), &given("aliases", &[("kind", b"multi")]), odd, None).is_err());
}

#[test]
fn a_patch_brings_field_and_ttl_together_again() {
    let row: &Stored<'_> = &[(b"session_id", b"s"), (b"ttl", b"1")];
    let changes = |expires_at| {
        let plan =
            patch(at("sessions", b"s"), &given("sessions", &[("pinned_group", b"2")]), row, expires_at)
                .unwrap();
        let Plan::Write(changes) = plan else { panic!() };
        let ttl = changes.set.iter().find(|(field, _)| field.name() == "ttl").unwrap().1.bytes().to_vec();
        (changes.expiry, ttl)
    };
    assert_eq!(changes(Some(NOW + 5)), (Expiry::Keep, (NOW + 5).to_string().into_bytes()));
    assert_eq!(changes(None), (Expiry::At(NOW + 900_000), (NOW + 900_000).to_string().into_bytes()));
}

proptest! {
    #[test]
    fn any_input_is_planned_or_refused_with_a_clear_error(
        which in 0..TABLES.len(), values in proptest::collection::vec(proptest::option::of(".{0,8}"), 16),
        life in prop_oneof![Just(Life::Unsaid), any::<i64>().prop_map(Life::For), any::<i64>().prop_map(Life::Until)],
        expires_at: Option<i64>,
    ) {
        let table = &TABLES[which];
        let given: Given<'_> =
            values.iter().take(table.fields.len()).map(|value| value.as_ref().map(String::as_bytes)).collect();
        prop_assume!(given.len() == table.fields.len());
        let circumstances = Circumstances { table, id: b"a:b", now: NOW, max_field_bytes: 6 };
        let whole = put(circumstances, &given, life, &[]);
        if let Ok(Plan::Write(changes)) = &whole {
            for (field, value) in &changes.set {
                prop_assert!(field.kind.accepts(value.bytes()) , "{} = {:?}", field.name(), value);
            }
            for field in table.fields.iter().filter(|field| field.origin == Origin::Required) {
                prop_assert!(changes.set.iter().any(|(set, _)| set.name == field.name));
            }
        }
        for failure in [whole.err(), patch(circumstances, &given, &[], expires_at).err()].into_iter().flatten() {
            prop_assert!(failure.text().starts_with("ERR "));
        }
    }
}

//! The fourteen tables and the auxiliary structures of a Miroir task store.
//!
//! Names, fields and lives are those of the task store that the pods share; see docs/keyspace.md.

use super::json::Form;
use super::value::Kind;
use super::{Claim, Field, Guard, IdForm, Index, Order, Origin, Part, Prune, Shape, Subset, Table};

/// How long a session lives after its last use: 15 minutes.
const SESSION_LIFE_MS: i64 = 900_000;
/// How long an idempotency entry lives: 24 hours.
const IDEMPOTENCY_LIFE_MS: i64 = 86_400_000;
/// How long an admin session lives: 1 hour.
const ADMIN_SESSION_LIFE_MS: i64 = 3_600_000;
/// How long a leader lease lives: 30 s.
const LEASE_LAPSE_MS: i64 = 30_000;
/// The windows of the rate limits, and the life of an observation: 60 s.
const MINUTE_MS: i64 = 60_000;
/// How long the register of pods outlives the last beat: 300 s.
const PODS_LAPSE_MS: i64 = 300_000;

const ROW_FAMILY: &str = "MIROIR.PUT, MIROIR.GET and their siblings";

/// What every entry below overrides in part.
const PLAIN: Table = Table {
    name: "",
    segment: "",
    shape: Shape::Row,
    id: IdForm::Plain,
    index: Index::None,
    fields: &[],
    order: Order::Id,
    life_ms: None,
    lapse_ms: None,
    filters: &[],
    guards: &[],
    state: None,
    claim: None,
    prune: None,
    companion: None,
    sides: &[],
    tagged: true,
    evictable: false,
    family: ROW_FAMILY,
};

const fn field(name: &'static std::ffi::CStr, kind: Kind, origin: Origin) -> Field {
    let text = match name.to_str() {
        Ok(text) => text,
        Err(_) => "",
    };
    Field { name, text, kind, origin, managed_by: None, is_secret: false }
}

const fn secret(name: &'static std::ffi::CStr, origin: Origin) -> Field {
    let Field { name, text, kind, origin, .. } = field(name, Kind::Text, origin);
    Field { name, text, kind, origin, managed_by: None, is_secret: true }
}

const fn of_a_claim(name: &'static std::ffi::CStr, kind: Kind, origin: Origin) -> Field {
    let Field { name, text, .. } = field(name, kind, origin);
    Field { name, text, kind, origin, managed_by: Some("MIROIR.JOB.*"), is_secret: false }
}

/// The table of this name.
#[must_use]
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// Every structure that a namespace can hold: the tables by their numbers, then the auxiliary ones.
pub static TABLES: &[Table] = &[
    Table {
        name: "tasks",
        segment: "tasks",
        index: Index::All,
        fields: &[
            field(c"miroir_id", Kind::Text, Origin::Key(Part::Whole)),
            field(c"created_at", Kind::Time, Origin::Now),
            field(c"status", Kind::OneOf(TASK_STATUSES), Origin::Default("enqueued")),
            field(c"node_tasks", Kind::Json(Form::Uints), Origin::Default("{}")),
            field(c"node_errors", Kind::Json(Form::Texts), Origin::Default("{}")),
            field(c"error", Kind::Text, Origin::Optional),
            field(c"started_at", Kind::Time, Origin::Optional),
            field(c"finished_at", Kind::Time, Origin::Optional),
            field(c"index_uid", Kind::Text, Origin::Optional),
            field(c"task_type", Kind::Text, Origin::Optional),
        ],
        order: Order::Newest("created_at"),
        filters: &["status", "index_uid", "task_type"],
        guards: &[Guard::TaskStatus("status")],
        state: Some("status"),
        prune: Some(Prune { terminal: &["succeeded", "failed", "canceled"], times: &["created_at"] }),
        evictable: true,
        ..PLAIN
    },
    Table {
        name: "node_settings_version",
        segment: "node_settings_version",
        id: IdForm::SplitFirst,
        index: Index::All,
        fields: &[
            field(c"index_uid", Kind::Text, Origin::Key(Part::First)),
            field(c"node_id", Kind::Text, Origin::Key(Part::Last)),
            field(c"version", Kind::Uint(0), Origin::Required),
            field(c"updated_at", Kind::Time, Origin::NowEachTime),
        ],
        filters: &["index_uid", "node_id"],
        guards: &[Guard::NeverFalls("version")],
        ..PLAIN
    },
    Table {
        name: "aliases",
        segment: "aliases",
        index: Index::All,
        fields: &[
            field(c"name", Kind::Text, Origin::Key(Part::Whole)),
            field(c"kind", Kind::OneOf(&["single", "multi"]), Origin::Required),
            field(c"current_uid", Kind::Text, Origin::RequiredWhen("kind", "single")),
            field(c"target_uids", Kind::Json(Form::Strings), Origin::RequiredWhen("kind", "multi")),
            field(c"version", Kind::Uint(0), Origin::Default("1")),
            field(c"created_at", Kind::Time, Origin::Now),
            field(c"history", Kind::Json(Form::Flips), Origin::Default("[]")),
        ],
        filters: &["kind"],
        ..PLAIN
    },
    Table {
        name: "sessions",
        segment: "session",
        fields: &[
            field(c"session_id", Kind::Text, Origin::Key(Part::Whole)),
            field(c"last_write_mtask_id", Kind::Text, Origin::Optional),
            field(c"last_write_at", Kind::Time, Origin::Optional),
            field(c"pinned_group", Kind::Text, Origin::Optional),
            field(c"min_settings_version", Kind::Uint(0), Origin::Default("0")),
            field(c"ttl", Kind::Time, Origin::Expiry),
        ],
        life_ms: Some(SESSION_LIFE_MS),
        filters: &["pinned_group"],
        tagged: false,
        evictable: true,
        ..PLAIN
    },
    Table {
        name: "idempotency_cache",
        segment: "idemp",
        fields: &[
            field(c"key", Kind::Text, Origin::Key(Part::Whole)),
            field(c"body_sha256", Kind::Sha256, Origin::Required),
            field(c"miroir_task_id", Kind::Text, Origin::Required),
            field(c"expires_at", Kind::Time, Origin::Expiry),
            field(c"state", Kind::Text, Origin::Optional),
        ],
        life_ms: Some(IDEMPOTENCY_LIFE_MS),
        tagged: false,
        evictable: true,
        ..PLAIN
    },
    Table {
        name: "jobs",
        segment: "jobs",
        index: Index::AllAnd(Subset { suffix: "_queued", field: "state", value: "queued" }),
        fields: &[
            field(c"id", Kind::Text, Origin::Key(Part::Whole)),
            field(c"type", Kind::Text, Origin::Required),
            field(c"params", Kind::Json(Form::Object), Origin::Default("{}")),
            of_a_claim(c"state", Kind::OneOf(JOB_STATES), Origin::Default("queued")),
            field(c"progress", Kind::Json(Form::Object), Origin::Default("{}")),
            field(c"created_at", Kind::Time, Origin::Now),
            of_a_claim(c"attempts", Kind::Uint(0), Origin::Default("0")),
            of_a_claim(c"claimed_by", Kind::Text, Origin::Optional),
            of_a_claim(c"claim_expires_at", Kind::Time, Origin::Optional),
            of_a_claim(c"claim_token", Kind::Uint(0), Origin::Kept),
            of_a_claim(c"finished_at", Kind::Time, Origin::Optional),
            field(c"error", Kind::Text, Origin::Optional),
            field(c"parent_job_id", Kind::Text, Origin::Optional),
            field(c"chunk_index", Kind::Uint(0), Origin::Optional),
            field(c"total_chunks", Kind::Uint(0), Origin::Optional),
        ],
        order: Order::Oldest("created_at"),
        filters: &["state", "type", "claimed_by", "parent_job_id"],
        guards: &[Guard::ReplaceWhile("state", "queued"), Guard::NeverFalls("claim_token")],
        state: Some("state"),
        claim: Some(Claim { waiting: "queued", running: "in_progress", until: "claim_expires_at" }),
        prune: Some(Prune {
            terminal: &["completed", "failed"],
            // Rows of pods that write without the module have no finished_at.
            times: &["finished_at", "created_at"],
        }),
        ..PLAIN
    },
    Table {
        name: "leader_lease",
        segment: "lease",
        shape: Shape::String,
        lapse_ms: Some(LEASE_LAPSE_MS),
        family: "MIROIR.LEASE.*",
        ..PLAIN
    },
    Table {
        name: "canaries",
        segment: "canary",
        index: Index::All,
        fields: &[
            field(c"id", Kind::Text, Origin::Key(Part::Whole)),
            field(c"name", Kind::Text, Origin::Required),
            field(c"index_uid", Kind::Text, Origin::Required),
            field(c"interval_s", Kind::Uint(1), Origin::Required),
            field(c"query_json", Kind::Json(Form::Object), Origin::Required),
            field(c"assertions_json", Kind::Json(Form::Array), Origin::Required),
            field(c"enabled", Kind::Flag, Origin::Default("1")),
            field(c"created_at", Kind::Time, Origin::NowOnce),
        ],
        filters: &["enabled", "index_uid"],
        companion: Some("canary_runs"),
        ..PLAIN
    },
    Table {
        name: "canary_runs",
        segment: "canary_runs",
        shape: Shape::SortedSet,
        tagged: false,
        family: "MIROIR.CANARY.*",
        ..PLAIN
    },
    Table {
        name: "cdc_cursors",
        segment: "cdc_cursor",
        id: IdForm::SplitLast,
        index: Index::ByFirstPart,
        fields: &[
            field(c"sink_name", Kind::Text, Origin::Key(Part::First)),
            field(c"index_uid", Kind::Text, Origin::Key(Part::Last)),
            field(c"last_event_seq", Kind::Uint(0), Origin::Required),
            field(c"updated_at", Kind::Time, Origin::NowEachTime),
        ],
        filters: &["sink_name"],
        guards: &[Guard::NeverFalls("last_event_seq")],
        ..PLAIN
    },
    Table {
        name: "tenant_map",
        segment: "tenant_map",
        fields: &[
            field(c"tenant_id", Kind::Text, Origin::Required),
            field(c"group_id", Kind::Text, Origin::Optional),
        ],
        tagged: false,
        ..PLAIN
    },
    Table {
        name: "rollover_policies",
        segment: "rollover",
        index: Index::All,
        fields: &[
            field(c"name", Kind::Text, Origin::Key(Part::Whole)),
            field(c"write_alias", Kind::Text, Origin::Required),
            field(c"read_alias", Kind::Text, Origin::Required),
            field(c"pattern", Kind::Text, Origin::Required),
            field(c"triggers_json", Kind::Json(Form::Object), Origin::Required),
            field(c"retention_json", Kind::Json(Form::Object), Origin::Required),
            field(c"template_json", Kind::Json(Form::Object), Origin::Required),
            field(c"enabled", Kind::Flag, Origin::Default("1")),
        ],
        filters: &["enabled"],
        ..PLAIN
    },
    Table {
        name: "search_ui_config",
        segment: "search_ui_config",
        fields: &[
            field(c"index_uid", Kind::Text, Origin::Key(Part::Whole)),
            field(c"config_json", Kind::Json(Form::Object), Origin::Required),
            field(c"updated_at", Kind::Time, Origin::NowEachTime),
        ],
        tagged: false,
        ..PLAIN
    },
    Table {
        name: "admin_sessions",
        segment: "admin_session",
        fields: &[
            field(c"session_id", Kind::Text, Origin::Key(Part::Whole)),
            secret(c"csrf_token", Origin::Required),
            secret(c"admin_key_hash", Origin::Required),
            field(c"created_at", Kind::Time, Origin::Now),
            field(c"expires_at", Kind::Time, Origin::Expiry),
            field(c"revoked", Kind::Flag, Origin::Default("0")),
            field(c"user_agent", Kind::Text, Origin::Optional),
            field(c"source_ip", Kind::Text, Origin::Optional),
        ],
        order: Order::Newest("created_at"),
        life_ms: Some(ADMIN_SESSION_LIFE_MS),
        filters: &["revoked"],
        guards: &[Guard::Latch("revoked")],
        tagged: false,
        evictable: true,
        ..PLAIN
    },
    Table {
        name: "ratelimit_searchui",
        segment: "ratelimit:searchui",
        lapse_ms: Some(MINUTE_MS),
        shape: Shape::String,
        tagged: false,
        family: "MIROIR.RATELIMIT.*",
        evictable: true,
        ..PLAIN
    },
    Table {
        name: "ratelimit_adminlogin",
        segment: "ratelimit:adminlogin",
        lapse_ms: Some(MINUTE_MS),
        shape: Shape::StringOrHash,
        family: "MIROIR.LOGIN.*",
        evictable: true,
        ..PLAIN
    },
    Table {
        name: "cdc_overflow",
        segment: "cdc:overflow",
        shape: Shape::List,
        sides: &["cdc:overflow_bytes", "cdc:overflow_stat"],
        family: "MIROIR.CDC.*",
        ..PLAIN
    },
    Table {
        name: "search_ui_scoped_key",
        segment: "search_ui_scoped_key",
        fields: &[
            field(c"index_uid", Kind::Text, Origin::Key(Part::Whole)),
            field(c"primary_uid", Kind::Text, Origin::Required),
            field(c"generation", Kind::Uint(0), Origin::Required),
            field(c"rotated_at", Kind::Time, Origin::Now),
            secret(c"primary_key", Origin::Optional),
            field(c"previous_uid", Kind::Text, Origin::Optional),
            secret(c"previous_key", Origin::Optional),
        ],
        ..PLAIN
    },
    Table {
        name: "search_ui_scoped_key_observed",
        segment: "search_ui_scoped_key_observed",
        lapse_ms: Some(MINUTE_MS),
        shape: Shape::Hash,
        family: "MIROIR.SCOPEDKEY.*",
        evictable: true,
        ..PLAIN
    },
    Table {
        name: "live_pods",
        segment: "live_pods",
        shape: Shape::Single,
        lapse_ms: Some(PODS_LAPSE_MS),
        family: "MIROIR.POD.*",
        ..PLAIN
    },
];

/// The statuses of a task, in the order in which a task can go through them.
pub const TASK_STATUSES: &[&str] = &["enqueued", "processing", "succeeded", "failed", "canceled"];
/// The states of a job.
pub const JOB_STATES: &[&str] = &["queued", "in_progress", "completed", "failed"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_coherent() {
        for table in TABLES {
            let known = |name: &str| table.field(name.as_bytes()).is_some();
            assert!(
                TABLES.iter().filter(|other| other.segment == table.segment).count() == 1,
                "{}",
                table.name
            );
            assert_eq!(table.fields.is_empty(), table.shape != Shape::Row, "{}", table.name);
            assert_eq!(table.expiry_field().is_some(), table.life_ms.is_some(), "{}", table.name);
            assert!(table.filters.iter().all(|name| known(name)), "{}", table.name);
            assert!(table.order.field().is_none_or(known), "{}", table.name);
            assert!(table.state.is_none_or(known), "{}", table.name);
            assert_eq!(
                table.state.is_some(),
                table.prune.is_some() || table.claim.is_some(),
                "{}",
                table.name
            );
            assert!(table.claim.is_none_or(|claim| known(claim.until)), "{}", table.name);
            assert!(table.companion.is_none_or(|name| super::table(name).is_some()), "{}", table.name);
            assert!(table.index == Index::None || table.tagged, "{} keeps two keys", table.name);
            if table.shape == Shape::Row {
                assert!(table.row_marks().count() > 0, "{} cannot tell a row from a stub", table.name);
            }
            for field in table.fields {
                if let Origin::Default(value) = field.origin {
                    assert!(field.kind.accepts(value.as_bytes()), "{}.{}", table.name, field.name());
                }
            }
        }
    }

    #[test]
    fn fourteen_tables_and_six_auxiliary_structures_by_their_names() {
        let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        assert_eq!(
            names[..14],
            [
                "tasks",
                "node_settings_version",
                "aliases",
                "sessions",
                "idempotency_cache",
                "jobs",
                "leader_lease",
                "canaries",
                "canary_runs",
                "cdc_cursors",
                "tenant_map",
                "rollover_policies",
                "search_ui_config",
                "admin_sessions",
            ]
        );
        assert_eq!(
            names[14..],
            [
                "ratelimit_searchui",
                "ratelimit_adminlogin",
                "cdc_overflow",
                "search_ui_scoped_key",
                "search_ui_scoped_key_observed",
                "live_pods",
            ]
        );
    }

    #[test]
    fn what_can_be_made_anew_may_be_evicted() {
        let evictable: Vec<_> =
            TABLES.iter().filter(|table| table.evictable).map(|table| table.name).collect();
        assert_eq!(
            evictable,
            [
                "tasks",
                "sessions",
                "idempotency_cache",
                "admin_sessions",
                "ratelimit_searchui",
                "ratelimit_adminlogin",
                "search_ui_scoped_key_observed",
            ]
        );
    }

    #[test]
    fn ids_of_two_parts_are_split_where_the_contract_says() {
        let versions = table("node_settings_version").unwrap();
        assert_eq!(versions.split_id(b"movies:node:7700"), Some((&b"movies"[..], &b"node:7700"[..])));
        let cursors = table("cdc_cursors").unwrap();
        assert_eq!(cursors.split_id(b"kafka:eu:movies"), Some((&b"kafka:eu"[..], &b"movies"[..])));
        assert_eq!(cursors.part(b"kafka:eu:movies", Part::Last), b"movies");
        assert_eq!(cursors.split_id(b"movies"), None);
    }
}

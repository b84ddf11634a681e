use kernel::{
    exception::{Class, Landed},
    operation::Retry,
    port::Failure,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{System, call::Call, testing::Trial};

struct Base {
    dir: tempfile::TempDir,
}

impl Base {
    fn new() -> Self {
        let base = Self { dir: tempfile::tempdir().unwrap() };
        let sql = "create table t (id text primary key, n, note text);
            insert into t values ('a', 1, 'one'), ('b', 2, 'two'), ('c', 9007199254740993, null);";
        base.open().execute_batch(sql).unwrap();
        base
    }

    fn open(&self) -> Connection {
        Connection::open(self.dir.path().join("db.sqlite")).unwrap()
    }

    fn system(&self) -> System {
        System::Sqlite {
            path: self.dir.path().join("db.sqlite"),
            rate: None,
            redact: crate::redact::Personal::default(),
        }
    }

    fn count(&self, filter: &str) -> i64 {
        self.open()
            .query_row(&format!("select count(*) from t where {filter}"), [], |row| row.get(0))
            .unwrap()
    }
}

fn sql(statement: &str, more: Value) -> Value {
    let mut binding = json!({"kind": "sql", "system": "sys", "statement": statement});
    for (key, value) in more.as_object().unwrap() {
        binding[key] = value.clone();
    }
    binding
}

async fn fail_with(trial: Trial) -> Failure {
    trial.run().await.unwrap_err()
}

#[tokio::test]
async fn reads_return_rows_with_exact_numbers() {
    let base = Base::new();
    let all = sql(
        "select id, n, note from t where id >= :from order by id",
        json!({"params": {"from": "/from"}}),
    );
    let expected = json!({"rows": [{"id": "b", "n": 2, "note": "two"}, {"id": "c", "n": "9007199254740993", "note": null}]});
    assert_eq!(Trial::read(base.system(), all).args(json!({"from": "b"})).output().await, expected);
    let types = sql(
        "select :n as n, :f as f, :t as t, :b as b, :j as j, x'0102' as blob, 1.5 as r",
        json!({"params": {"n": "/n", "f": "/f", "t": "/t", "b": "/b", "j": "/j"}, "one": true}),
    );
    let args = json!({"f": 2.5, "t": "x", "b": true, "j": [1]});
    let expected =
        json!({"n": null, "f": 2.5, "t": "x", "b": 1, "j": "[1]", "blob": "AQI=", "r": 1.5});
    assert_eq!(Trial::read(base.system(), types).args(args).output().await, expected);
}

#[tokio::test]
async fn one_row_means_one_row() {
    let base = Base::new();
    let one = |more| {
        sql(
            "select n from t where id like :id",
            merged(json!({"params": {"id": "/id"}, "one": true}), more),
        )
    };
    let run = |more, id: &str| Trial::read(base.system(), one(more)).args(json!({"id": id}));
    assert_eq!(run(json!({}), "a").output().await, json!({"n": 1}));
    assert_eq!(fail_with(run(json!({}), "%")).await.class, Class::Duplicate);
    assert_eq!(fail_with(run(json!({}), "zz")).await.class, Class::MissingField);
    assert_eq!(run(json!({"rows": {"min": 0}}), "zz").output().await, Value::Null);
}

fn merged(mut base: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

#[tokio::test]
async fn an_argument_is_never_sql() {
    let base = Base::new();
    let attack = "x'; drop table t; --";
    let read = sql("select id from t where id = :id", json!({"params": {"id": "/id"}}));
    assert_eq!(
        Trial::read(base.system(), read).args(json!({"id": attack})).output().await,
        json!({"rows": []})
    );
    let write =
        sql("update t set note = :note where id = 'a'", json!({"params": {"note": "/note"}}));
    let output = Trial::write(base.system(), write).args(json!({"note": attack})).output().await;
    assert_eq!(output, json!({"affected": 1}));
    assert_eq!(base.count("note like 'x''; drop%'"), 1);
    assert_eq!(base.count("true"), 3);
}

#[tokio::test]
async fn a_write_outside_its_bounds_is_rolled_back() {
    let base = Base::new();
    let update = |more| {
        sql(
            "update t set note = 'changed' where id >= :from",
            merged(json!({"params": {"from": "/from"}}), more),
        )
    };
    let run =
        |more, from: &str| Trial::write(base.system(), update(more)).args(json!({"from": from}));
    let failure = fail_with(run(json!({}), "a")).await;
    assert_eq!(
        (failure.class, failure.landed),
        (Class::Duplicate, Landed::No),
        "undeclared: exactly one"
    );
    let failure = fail_with(run(json!({"rows": {"min": 1, "max": 2}}), "a")).await;
    assert_eq!((failure.class, failure.landed), (Class::Duplicate, Landed::No));
    let failure = fail_with(run(json!({}), "zz")).await;
    assert_eq!((failure.class, failure.landed), (Class::MissingField, Landed::No));
    assert_eq!(base.count("note = 'changed'"), 0);
    assert_eq!(run(json!({"rows": {"max": 3}}), "a").output().await, json!({"affected": 3}));
    let returning = sql("delete from t where id = 'a' returning note", json!({}));
    assert_eq!(Trial::write(base.system(), returning).output().await, json!({"affected": 1}));
    assert_eq!(base.count("true"), 2);
}

/// C077: a write that waits when its run is cancelled, or its time is over, is not made later by the thread that waited.
#[test]
fn a_write_that_is_given_up_before_it_left_is_never_made() {
    let base = Base::new();
    let delete = || Trial::write(base.system(), sql("delete from t where id = 'a'", json!({})));
    let late = delete().with(|trial| trial.operation.timeout_ms = 30);
    for (trial, is_cancelled) in [(delete(), true), (late, false)] {
        let other = base.open();
        other.execute_batch("begin immediate").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let connectors = trial.connectors();
        let Call { tenant, run, .. } = trial.call();
        let outcome = runtime.block_on(async {
            let ended = connectors.run(trial.call());
            let given_up = async {
                if is_cancelled {
                    connectors.run_cancelled(&tenant, &run);
                }
            };
            tokio::join!(ended, given_up).0
        });
        let failure = outcome.unwrap_err();
        assert_eq!(failure.landed, Landed::No, "{failure:?}");
        assert!(!is_cancelled || failure.message.contains("withdrawn"), "{failure:?}");
        other.execute_batch("commit").unwrap();
        // Waits for the threads that still work for it.
        drop(runtime);
        assert_eq!(base.count("id = 'a'"), 1);
    }
}

#[tokio::test]
async fn a_read_cannot_write() {
    let base = Base::new();
    for statement in
        ["delete from t", "with x as (select 1) delete from t", "insert into t values ('z', 1, '')"]
    {
        let failure = fail_with(Trial::read(base.system(), sql(statement, json!({})))).await;
        assert_eq!(
            (failure.class, failure.landed),
            (Class::InvalidArguments, Landed::No),
            "{statement}"
        );
    }
    assert_eq!(base.count("true"), 3);
}

#[tokio::test]
async fn trouble_has_a_class() {
    let base = Base::new();
    let taken = sql("insert into t values ('a', 1, '')", json!({}));
    let failure = fail_with(Trial::write(base.system(), taken)).await;
    assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::No));
    let gone = System::Sqlite {
        path: base.dir.path().join("none.sqlite"),
        rate: None,
        redact: crate::redact::Personal::default(),
    };
    let insert = sql("insert into t values ('z', 1, '')", json!({}));
    let failure = fail_with(Trial::write(gone, insert.clone())).await;
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::No));
    assert!(!base.dir.path().join("none.sqlite").exists(), "never created");
    let late = Trial::write(base.system(), insert.clone()).with(|trial| trial.punctual = 0);
    let failure = fail_with(late).await;
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No));
    // Somebody else holds the file for longer than the call may take.
    let other = base.open();
    other.execute_batch("begin immediate").unwrap();
    let waiting =
        Trial::write(base.system(), insert).with(|trial| trial.operation.timeout_ms = 200);
    let failure = fail_with(waiting).await;
    assert!(matches!(failure.class, Class::Timeout | Class::Unavailable), "{failure:?}");
    assert_eq!(failure.landed, Landed::No);
    other.execute_batch("rollback").unwrap();
    assert_eq!(base.count("id = 'z'"), 0);
    let endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) as n from c";
    let trial = Trial::read(base.system(), sql(endless, json!({})))
        .with(|trial| trial.operation.timeout_ms = 200);
    assert_eq!(fail_with(trial).await.class, Class::Timeout);
    let wide = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 100) select x, printf('%10000d', 1) as w from c";
    let failure = fail_with(Trial::read(base.system(), sql(wide, json!({})))).await;
    assert_eq!(failure.class, Class::UnexpectedShape, "{failure:?}");
    let twice =
        fail_with(Trial::read(base.system(), sql("select 1 as a, 2 as a", json!({})))).await;
    assert_eq!(twice.class, Class::UnexpectedShape);
}

#[tokio::test]
async fn bindings_are_checked_at_load() {
    let base = Base::new();
    for (binding, expected) in [
        (sql("select :a", json!({})), "`:a` of the statement is bound to nothing"),
        (sql("select 1", json!({"params": {"b": "/b"}})), "`b` does not stand in the statement"),
        (sql("select :a", json!({"params": {"a": "b"}})), "not a JSON pointer"),
        (sql("select 1; select 2", json!({})), "one statement"),
        (sql("pragma x", json!({})), "must begin with one of"),
        (sql("select 1", json!({"row": {}})), "did you mean `rows`?"),
        (sql("select 1", json!({"rows": {"mx": 1}})), "did you mean `max`?"),
        (sql("select 1", json!({"rows": {"min": 3, "max": 2}})), "must not exceed"),
        (sql("select 1", json!({"rows": {"max": 1_000_000}})), "must not exceed"),
        (sql("select 1", json!({"one": true, "rows": {"max": 2}})), "`max` of 1"),
    ] {
        let trial = Trial::read(base.system(), binding.clone());
        let error = trial.connectors().check(&trial.operation).unwrap_err().to_string();
        assert!(error.contains(expected), "{binding}: {error}");
    }
    let keyed = |params: Value| {
        let binding = sql("insert into t values (:id, 1, '')", json!({"params": params}));
        let trial = Trial::write(base.system(), binding).args(json!({"id": "k"}));
        trial.with(|trial| trial.operation.facts.retry = Retry::Keyed)
    };
    let trial = keyed(json!({"id": "/id"}));
    assert!(trial.connectors().check(&trial.operation).is_err(), "keyed without its key");
    let trial = keyed(json!({"id": "$key"}));
    trial.run().await.unwrap();
    assert_eq!(base.count(&format!("id = '{}'", trial.call().key)), 1);
}

/// The server to test against, or `None` with a note that the test proves nothing here.
fn postgres() -> Option<String> {
    let dsn = std::env::var("HARNESS_TEST_POSTGRES").ok();
    if dsn.is_none() {
        println!(
            "skipped: set HARNESS_TEST_POSTGRES to a connection string to test against PostgreSQL"
        );
    }
    dsn
}

/// The connection string as a secret, as it may hold a password.
fn over(dsn: &str, mut trial: Trial) -> Trial {
    std::fs::write(trial.secret.path(), dsn).unwrap();
    let system = System::Postgres {
        dsn: "secret:token".to_owned(),
        password: None,
        rate: None,
        redact: crate::redact::Personal::default(),
    };
    trial.systems.insert("sys".to_owned(), system);
    trial
}

fn unused() -> System {
    System::Sqlite {
        path: "/unused".into(),
        rate: None,
        redact: crate::redact::Personal::default(),
    }
}

#[tokio::test]
async fn postgres_values_are_exact() {
    let Some(dsn) = postgres() else { return };
    let text =
        "select :i::int8 as i, :n::numeric as n, :f::float8 as f, :b::bool as b, :j::jsonb as j,
        :t::timestamptz as t, :x::text as x, :z::text as z, 9007199254740993::int8 as big,
        '2026-11-20'::date as d, array_length(:a::text[], 1) as a, 'x'::bytea as raw";
    let params = json!({"i": "/i", "n": "/n", "f": "/f", "b": "/b", "j": "/j", "t": "/t", "x": "/x", "z": "/z", "a": "/a"});
    let args = json!({"i": 5, "n": "12345678901234567890.10", "f": 0.1, "b": true, "j": {"k": [1, "two"]},
        "t": "2026-11-20T10:00:00+01:00", "x": "it's; drop table", "a": ["p,q", "\"r\""]});
    let trial = Trial::read(unused(), sql(text, json!({"params": params, "one": true}))).args(args);
    let expected = json!({"i": 5, "n": "12345678901234567890.10", "f": 0.1, "b": true, "j": {"k": [1, "two"]},
        "t": "2026-11-20T09:00:00Z", "x": "it's; drop table", "z": null, "big": "9007199254740993",
        "d": "2026-11-20", "a": 2, "raw": "eA=="});
    assert_eq!(over(&dsn, trial).output().await, expected);
    let bad = Trial::read(unused(), sql("select :i::int8 as i", json!({"params": {"i": "/i"}})))
        .args(json!({"i": "x"}));
    let failure = fail_with(over(&dsn, bad)).await;
    assert_eq!(
        (failure.class, failure.landed),
        (Class::InvalidArguments, Landed::No),
        "{failure:?}"
    );
    let odd = Trial::read(unused(), sql("select '1,2'::point as p", json!({})));
    let failure = fail_with(over(&dsn, odd)).await;
    assert!(
        failure.class == Class::UnexpectedShape && failure.message.contains("::text"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn postgres_keeps_to_bounds_and_reads() {
    let Some(dsn) = postgres() else { return };
    let (client, connection) = tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let table = format!("connect_test_{}", std::process::id());
    let setup = format!(
        "drop table if exists {table}; create table {table} (id int, note text);
        insert into {table} values (1, 'a'), (2, 'b'), (3, 'c')"
    );
    client.batch_execute(&setup).await.unwrap();
    let update = |more| {
        sql(
            &format!("update {table} set note = 'changed' where id >= :from"),
            merged(json!({"params": {"from": "/from"}}), more),
        )
    };
    let run = |more, from: i64| {
        over(&dsn, Trial::write(unused(), update(more)).args(json!({"from": from})))
    };
    let failure = fail_with(run(json!({}), 1)).await;
    assert_eq!((failure.class, failure.landed), (Class::Duplicate, Landed::No), "{failure:?}");
    let failure = fail_with(run(json!({}), 9)).await;
    assert_eq!((failure.class, failure.landed), (Class::MissingField, Landed::No));
    let late = run(json!({}), 3).with(|trial| trial.punctual = 0);
    assert_eq!(fail_with(late).await.class, Class::Timeout);
    let changed = format!("select count(*)::int8 from {table} where note = 'changed'");
    assert_eq!(client.query_one(&changed, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(run(json!({}), 3).output().await, json!({"affected": 1}));
    assert_eq!(client.query_one(&changed, &[]).await.unwrap().get::<_, i64>(0), 1);
    let sneaky = Trial::read(unused(), sql(&format!("delete from {table}"), json!({})));
    let failure = fail_with(over(&dsn, sneaky)).await;
    assert_eq!(
        (failure.class, failure.landed),
        (Class::InvalidArguments, Landed::No),
        "{failure:?}"
    );
    let slow = Trial::read(unused(), sql("select pg_sleep(30)::text as s", json!({})));
    let slow = over(&dsn, slow).with(|trial| trial.operation.timeout_ms = 300);
    assert_eq!(fail_with(slow).await.class, Class::Timeout);
    client.batch_execute(&format!("drop table {table}")).await.unwrap();
}

#[tokio::test]
async fn postgres_connection_strings_are_checked() {
    let trial = Trial::read(unused(), sql("select 1 as a", json!({})));
    let vault = crate::secret::Vault::new(crate::Secrets::default()).unwrap();
    for (dsn, expected) in [
        ("host=localhost password=hunter2", "name a secret"),
        ("host=db.example", "sslmode=disable"),
        ("nonsense", "cannot be read"),
        ("secret:none", "no secret `none`"),
    ] {
        let error = super::check_dsn("sys", dsn, &vault).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
    for dsn in ["host=localhost", "host=/var/run/postgresql", "host=db.example sslmode=disable"] {
        super::check_dsn("sys", dsn, &vault).unwrap();
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dsn = format!("host=127.0.0.1 port={closed} user=u");
    let gone = trial.with(|trial| {
        trial.systems.insert(
            "sys".to_owned(),
            System::Postgres {
                dsn,
                password: None,
                rate: None,
                redact: crate::redact::Personal::default(),
            },
        );
    });
    let failure = fail_with(gone).await;
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::No));
}

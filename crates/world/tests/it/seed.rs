//! What grows from the seed, and what survives a restart.

use serde_json::{Value, json};
use world::{Error, World, WorldConfig};

use crate::client::{ask, config, get, hash, start, write, write_keyed};

#[tokio::test]
async fn the_same_seed_grows_the_same_world() {
    let (one, two) = (start().await, start().await);
    let other = World::start(WorldConfig { seed: 7, ..config() }).await.unwrap();
    assert_eq!(hash(&one).await, hash(&two).await);
    assert_ne!(hash(&one).await, hash(&other).await);
    assert_eq!(one.tokens(), two.tokens());
    assert_ne!(one.tokens(), other.tokens());
}

#[tokio::test]
async fn the_account_at_risk_is_at_risk_in_every_system() {
    for seed in [42, 7] {
        let world = World::start(WorldConfig { seed, ..config() }).await.unwrap();
        let account = get(&world, "/crm/accounts/ACC-0042").await.expect(200);
        assert_eq!(account["Name"], "Northwind Robotics");
        assert_eq!(account["OwnerEmail"], "priya.raman@vendor.example");
        let contract = get(&world, "/crm/accounts/ACC-0042/contracts").await.expect(200);
        assert_eq!(contract["records"][0]["RenewalDate"], "2026-12-28");
        let contacts = get(&world, "/crm/accounts/ACC-0042/contacts").await.expect(200);
        assert_eq!(contacts["records"][0]["Email"], "ana.keller@northwind-robotics.example");
        let usage = get(&world, "/usage/accounts/ACC-0042").await.expect(200);
        assert_eq!(usage["change_8w_pct"], "-40.0");
        let series = usage["series"].as_array().unwrap();
        assert_eq!(series.len(), 12);
        assert_eq!(series[11], json!({"week_start": "2026-11-09", "value": "312.0"}));
        assert_eq!(series[3]["value"], "520.0");
        let tickets = get(&world, "/desk/tickets?external_ref=ACC-0042&status=open").await;
        let tickets = tickets.expect(200);
        assert_eq!(tickets["total"], 2);
        for ticket in tickets["tickets"].as_array().unwrap() {
            assert_eq!(
                (&ticket["priority"], &ticket["sentiment"]),
                (&json!("urgent"), &json!("angry"))
            );
            assert_eq!(ticket["company_name"], "Northwind Robotics GmbH");
        }
        let overdue = get(&world, "/billing/invoices?account=ACC-0042&status=past_due").await;
        assert_eq!(overdue.expect(200)["data"][0]["id"], "in_000042_3");
        let balance = get(&world, "/billing/customers/cus_000042/balance").await.expect(200);
        assert_eq!(balance["amount_overdue"], 4_600_000);
        assert_eq!(balance["amount_paid"], 9_200_000);
        assert_eq!(balance["payment_status"], "past_due");
    }
}

#[tokio::test]
async fn the_other_protagonists_play_their_parts() {
    let world = start().await;
    let healthy = get(&world, "/billing/customers/cus_000007/balance").await.expect(200);
    assert_eq!(healthy["payment_status"], "current");
    let no_notice = get(&world, "/crm/contracts/CTR-0113").await.expect(200);
    assert_eq!(no_notice["Terms"]["NoticePeriodDays"], Value::Null);
    let twice = get(&world, "/desk/companies?external_ref=ACC-0200").await.expect(200);
    assert_eq!(twice["total"], 2);
    let cjk = get(&world, "/crm/accounts/ACC-0064").await.expect(200);
    assert_eq!(cjk["Name"], "青空物流株式会社");
    let found = get(&world, "/desk/companies?name=%E9%9D%92%E7%A9%BA").await.expect(200);
    assert_eq!(found["companies"][0]["name"], "青空物流㈱");
    let accents = get(&world, "/desk/companies/70088").await.expect(200);
    assert_eq!(accents["name"], "Mueller & Soen Maschinenbau AG");
    assert_eq!(accents["external_ref"], Value::Null);
}

#[tokio::test]
async fn each_system_pages_in_its_own_way_to_the_end() {
    let world = start().await;
    let mut ids = Vec::new();
    let mut path = "/crm/accounts?limit=60".to_owned();
    loop {
        let page = get(&world, &path).await.expect(200);
        ids.extend(page["records"].as_array().unwrap().iter().map(|row| row["Id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/crm/accounts?limit=60&cursor={cursor}");
    }
    assert_eq!(ids.len(), 200);
    assert_eq!((&ids[0], &ids[199]), (&json!("ACC-0001"), &json!("ACC-0200")));

    let last = get(&world, "/desk/companies?offset=200&limit=900").await.expect(200);
    assert_eq!((&last["limit"], &last["total"]), (&json!(100), &json!(201)));
    assert_eq!(last["companies"].as_array().unwrap().len(), 1);

    let first = get(&world, "/billing/invoices?customer=cus_000042&limit=2").await.expect(200);
    assert_eq!(first["has_more"], true);
    let path = "/billing/invoices?customer=cus_000042&limit=2&starting_after=in_000042_2";
    let second = get(&world, path).await.expect(200);
    assert_eq!(
        (&second["has_more"], &second["data"][0]["id"]),
        (&json!(false), &json!("in_000042_3"))
    );

    let usage = get(&world, "/usage/accounts?page=4&per_page=60").await.expect(200);
    assert_eq!(usage["pages"], 4);
    assert_eq!(usage["items"].as_array().unwrap().len(), 20);
    assert_eq!(get(&world, "/crm/accounts?limit=101").await.status, 400);
    assert_eq!(get(&world, "/billing/invoices?limit=101").await.status, 400);
    assert_eq!(get(&world, "/crm/accounts?cursor=zz").await.status, 400);
}

#[tokio::test]
async fn a_restart_keeps_data_keys_and_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let file = || WorldConfig { db: Some(folder.path().join("world.db")), ..config() };
    let world = World::start(file()).await.unwrap();
    let grown = hash(&world).await;
    let body = json!({"Category": "at_risk"});
    let request = "PATCH /crm/opportunities/OPP-0042";
    write_keyed(&world, "k1", request, body.clone()).await.expect(200);
    let changed = hash(&world).await;
    assert_ne!(grown, changed);
    world.shutdown().await;

    let world = World::start(file()).await.unwrap();
    assert_eq!(hash(&world).await, changed);
    let again = write_keyed(&world, "k1", request, body).await;
    assert_eq!(again.headers.get("idempotent-replayed").map(String::as_str), Some("true"));
    assert_eq!(crate::client::effect(&world, "crm.update_forecast", "k1").await, (2, 1));
    world.shutdown().await;

    let other = World::start(WorldConfig { seed: 7, ..file() }).await;
    assert!(matches!(other, Err(Error::OtherWorld { .. })));
}

#[tokio::test]
async fn out_of_bounds_configurations_do_not_start() {
    let few = World::start(WorldConfig { accounts: 10, ..config() }).await;
    assert!(matches!(few, Err(Error::Accounts(10))));
    let public = WorldConfig { listen: ([0, 0, 0, 0], 0).into(), ..config() };
    assert!(matches!(World::start(public).await, Err(Error::NotLoopback(_))));
}

#[tokio::test]
async fn each_system_asks_for_its_own_token() {
    let world = start().await;
    for (path, request, body) in [
        ("/crm/accounts/ACC-0042", "PATCH /crm/accounts/ACC-0042", json!({"Tier": "growth"})),
        ("/desk/tickets/7000421", "PATCH /desk/tickets/7000421", json!({"status": "solved"})),
        ("/billing/invoices", "POST /billing/refunds", json!({})),
        (
            "/usage/accounts/ACC-0042",
            "POST /usage/annotations",
            json!({"account": "ACC-0042", "text": "x"}),
        ),
    ] {
        let before = hash(&world).await;
        let tokens = serde_json::to_value(world.tokens()).unwrap();
        let system = path.split('/').nth(1).unwrap();
        let reader = tokens[system]["read"].as_str().unwrap();
        assert_eq!(ask(&format!("GET {path}")).send(&world).await.status, 401, "{path}");
        let stranger = ask(&format!("GET {path}")).token("wrong").send(&world).await;
        assert_eq!(stranger.status, 401, "{path}");
        assert_eq!(ask(&format!("GET {path}")).token(reader).send(&world).await.status, 200);
        let refused = ask(request).token(reader).body(body).send(&world).await;
        assert_eq!(refused.status, 403, "{request}");
        assert_eq!(hash(&world).await, before);
    }
    let cross = ask("GET /crm/accounts").token(&world.tokens().desk.write).send(&world).await;
    assert_eq!(cross.status, 401);
}

#[tokio::test]
async fn each_system_words_errors_in_its_own_shape() {
    let world = start().await;
    let crm = get(&world, "/crm/accounts/ACC-9999").await.expect(404);
    assert_eq!(crm[0]["errorCode"], "NOT_FOUND");
    let desk = get(&world, "/desk/tickets/1").await.expect(404);
    assert_eq!(desk["errors"][0]["code"], "not_found");
    let billing = get(&world, "/billing/invoices/in_x").await.expect(404);
    assert_eq!(billing["error"]["code"], "resource_missing");
    let usage = get(&world, "/usage/accounts/ACC-9999").await.expect(404);
    assert_eq!(usage["reason"], "not_found");
    let typo = write(&world, "PATCH /crm/accounts/ACC-0042", json!({"tier": "growth"})).await;
    assert_eq!(typo.expect(400)[0]["fields"], json!(["tier"]));
    assert_eq!(write(&world, "PUT /crm/accounts/ACC-0042", json!({})).await.status, 405);
    let long = "x".repeat(1024 * 1024);
    let large = write(&world, "PATCH /crm/accounts/ACC-0042", json!({"OwnerName": long})).await;
    assert_eq!(large.expect(413)[0]["errorCode"], "TOO_LARGE");
}

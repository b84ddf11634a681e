//! The wall clock may jump; a run's time never goes back, and nothing is lost or done twice by it.

use std::sync::Arc;

use kernel::{
    id::{Digest, Tenant},
    input::{Answer, Input},
    port::Journal,
    run::{Run, Status},
};
use testkit::{Rules, person};

use crate::support::{Company, Place, at, lena};

const HOUR_MS: i64 = 3_600_000;

fn company() -> Arc<Company> {
    let rules = Rules::default().ask("sys.once", "approver", 1);
    Arc::new(Company::new(Place::Disk, &["sys.read", "sys.once"], rules))
}

async fn fold(company: &Company, run: &kernel::RunId) -> Run {
    Run::fold(&company.records(run).await, company.pins()).unwrap()
}

fn yes(run: &Run) -> Input {
    let ask = run.asks().remove(0);
    Input::Answer {
        approval: ask.id,
        action: ask.action.digest.unwrap(),
        shown: Digest::default(),
        by: person("person:lena", &["approver"]),
        answer: Answer::Approve,
    }
}

#[tokio::test]
async fn a_clock_that_jumps_back_turns_no_time_back() {
    let company = company();
    company.clock.advance(10 * HOUR_MS);
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    let asked_at = company.records(&run).await.last().unwrap().event.at;
    for back in [HOUR_MS, 8 * HOUR_MS] {
        company.clock.advance(-back);
        // A new owner under the wrong clock: it claims, and nothing expires.
        let other = company.plain_engine();
        let parked = other.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
        assert_eq!(parked, Status::Asking);
    }
    let answer = yes(&fold(&company, &run).await);
    engine.input(at(&run), lena("a1"), answer).await.unwrap().unwrap();
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(fold(&company, &run).await.status(), Status::Succeeded);
    let records = company.records(&run).await;
    assert!(records.windows(2).all(|pair| pair[0].event.at <= pair[1].event.at));
    assert!(
        records.iter().all(|record| record.event.at >= asked_at || record.event.at > 9 * HOUR_MS)
    );
    assert_eq!(company.target.effects(), [1]);
    company.check_replay(&run).await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_lets_an_ask_expire_once_and_calls_nothing() {
    let company = company();
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    let late = yes(&fold(&company, &run).await);
    company.clock.advance(20_000 * HOUR_MS);
    assert_eq!(company.journal.due(company.now(), 9).await.unwrap(), [at(&run)]);
    engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(fold(&company, &run).await.status(), Status::Failed);
    // Back where it was: what expired stays so.
    company.clock.advance(-20_000 * HOUR_MS);
    assert!(engine.input(at(&run), lena("a1"), late).await.unwrap().is_err());
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(company.target.calls("sys.once"), 0);
    assert_eq!(company.kinds(&run).await.iter().filter(|kind| *kind == "rejected").count(), 1);
    company.check_replay(&run).await;
}

//! Many calls at once, calls that wait, calls that nobody wants any more.

mod common;

use std::sync::Arc;
use std::time::Duration;

use agent0_sandbox::{Limits, Sandbox, SandboxConfig, Status};
use common::{patient, plain_config};

fn sandbox(concurrency: usize) -> Sandbox {
    Sandbox::start(SandboxConfig { concurrency, ..plain_config() }).unwrap()
}

#[tokio::test]
async fn eight_calls_at_once_do_not_mix() {
    let sandbox = Arc::new(sandbox(8));
    let calls: Vec<_> = (0..8)
        .map(|i| {
            let sandbox = sandbox.clone();
            let code = format!("import sys\nfor _ in range(1000): print({i})\nprint('e{i}', file=sys.stderr)\nsys.exit({i})");
            tokio::spawn(async move { sandbox.run_with(&code, i, &patient()).await })
        })
        .collect();
    for (i, call) in calls.into_iter().enumerate() {
        let outcome = call.await.unwrap().unwrap();
        assert_eq!(outcome.status, Status::Finished { code: i as i32 });
        assert_eq!(outcome.stdout, format!("{i}\n").repeat(1000));
        assert_eq!(outcome.stderr, format!("e{i}\n"));
    }
}

#[tokio::test]
async fn time_in_the_queue_does_not_count() {
    let sandbox = sandbox(1);
    let limits = Limits { wall_s: 2.5, ..Limits::default() };
    let call = || sandbox.run_with("import time; time.sleep(1.2)", 0, &limits);
    let (a, b, c) = tokio::join!(call(), call(), call());
    for outcome in [a, b, c] {
        assert_eq!(outcome.unwrap().status, Status::Finished { code: 0 });
    }
}

#[tokio::test]
async fn dropping_the_future_kills_the_call() {
    let sandbox = sandbox(1);
    let limits = Limits { wall_s: 3600.0, ..Limits::default() };
    for wait in [0, 10, 300] {
        let unwanted = sandbox.run_with("import time; time.sleep(3600)", 0, &limits);
        assert!(tokio::time::timeout(Duration::from_millis(wait), unwanted).await.is_err());
        // There is one place; the next call gets it only when the unwanted one is gone.
        let next = tokio::time::timeout(Duration::from_secs(60), sandbox.run("print('next')", 0)).await;
        assert_eq!(next.expect("the unwanted call still has the place").unwrap().stdout, "next\n");
    }
}

//! Calls that are talked to.

mod common;

use std::time::Duration;

use agent0_sandbox::{Isolation, Limits, Reply, Sandbox, Session, Status};
use common::{output, plain_sandbox};

const SECOND: Duration = Duration::from_secs(1);

/// Answers each line with what it is as Python; `seen` counts the lines.
const ECHO: &str = "import sys\nseen = 0\nfor line in sys.stdin:\n    seen += 1\n    print(eval(line), flush=True)\n";

fn forever() -> Limits {
    Limits { wall_s: 3600.0, ..Limits::with_cpu(600) }
}

async fn echo(sandbox: &Sandbox) -> Session {
    sandbox.open_session(ECHO, &forever()).await.unwrap()
}

fn line(text: &str) -> Reply {
    Reply::Line(text.to_owned())
}

fn sandboxes() -> impl Iterator<Item = Sandbox> {
    [Isolation::Full, Isolation::Landlock].into_iter().filter_map(plain_sandbox)
}

#[tokio::test]
async fn a_session_remembers_and_ends_when_its_input_does() {
    for sandbox in sandboxes() {
        let mut session = echo(&sandbox).await;
        assert_eq!(session.ask("1 + 1", SECOND), line("2"));
        assert_eq!(session.ask("'é' * 3", SECOND), line("ééé"));
        assert_eq!(session.ask("seen", SECOND), line("3"));
        let outcome = session.end().await.unwrap();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Status::Finished { code: 0 }, ""));
    }
}

#[tokio::test]
async fn a_session_is_locked_in_like_any_call_and_takes_no_place() {
    for sandbox in sandboxes() {
        let mut sessions = Vec::new();
        for _ in 0..20 {
            sessions.push(echo(&sandbox).await);
        }
        for session in &mut sessions {
            assert_eq!(session.ask("seen", SECOND), line("1"));
        }
        assert_eq!(output(&sandbox, "print('a call')"), "a call\n");
        let refused = sessions[0].ask("__import__('os').fork()", SECOND);
        assert_eq!(refused, Reply::Broken);
        let outcome = sessions.remove(0).end().await.unwrap();
        assert_eq!(outcome.status, Status::Finished { code: 1 });
        assert!(outcome.stderr.contains("PermissionError"), "{}", outcome.stderr);
        assert_eq!(sessions[0].ask("seen", SECOND), line("2"), "the others go on");
    }
}

#[tokio::test]
async fn cpu_time_ends_a_session_and_waiting_does_not() {
    for sandbox in sandboxes() {
        let mut session = echo(&sandbox).await;
        assert_eq!(session.ask("__import__('time').sleep(1.5)", SECOND), line("None"));
        // In native code, where no Python signal handler runs.
        assert_eq!(session.ask("10 ** 10 ** 8", SECOND), Reply::OutOfTime);
        drop(session);
        assert_eq!(output(&sandbox, "print('next')"), "next\n");
    }
}

#[tokio::test]
async fn answers_that_are_no_line_break_a_session_and_nothing_else() {
    for sandbox in sandboxes() {
        for nonsense in [
            "__import__('os')._exit(3)",
            "__import__('os').close(1)",
            "'x' * (1 << 20)",
            "__import__('os').write(1, b'\\xff\\n')",
            "__import__('ctypes').string_at(0)",
        ] {
            let mut session = echo(&sandbox).await;
            let reply = session.ask(nonsense, Duration::from_secs(5));
            assert!(!matches!(reply, Reply::Line(_)), "{nonsense}: {reply:?}");
        }
        let mut session = echo(&sandbox).await;
        assert_eq!(session.ask("1", SECOND), line("1"));
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_its_sandbox() {
    for sandbox in sandboxes() {
        let mut session = echo(&sandbox).await;
        drop(sandbox);
        // The kernel kills it with its zygote, soon.
        while session.ask("1", SECOND) != Reply::Broken {}
        assert!(session.end().await.is_err());
    }
}

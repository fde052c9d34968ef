//! The sandbox as a tool: what a model is told of a real run.

use agent0_rl::{Tool, ToolResult};
use agent0_sandbox::{Limits, Sandbox, SandboxConfig};

#[tokio::test]
async fn programs_are_run_and_told_of() {
    let config = SandboxConfig { preload: Vec::new(), limits: Limits::with_cpu(1), ..SandboxConfig::new("python3") };
    let sandbox = Sandbox::start(config).unwrap();
    let told = async |code: &str| {
        let ToolResult { text, ok } = sandbox.call(code, 7).await.unwrap();
        (text, ok)
    };
    assert_eq!(told("print(6 * 7)\n").await, ("42".to_owned(), true));
    assert_eq!(told("x = 1").await, ("[no output]".to_owned(), true));
    assert_eq!(told("print(1)\n1 / 0").await, ("1\nZeroDivisionError: division by zero".to_owned(), false));
    assert!(told("print(").await.0.starts_with("SyntaxError"));
    let (text, ok) = told("print('on', flush=True)\nwhile True: pass").await;
    assert!(text.starts_with("on\nkilled: ") && !ok, "{text}");
    let random = "import random; print(random.random())";
    assert_eq!(told(random).await, told(random).await);
}

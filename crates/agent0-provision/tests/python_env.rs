//! The Python environment for real: made in the user's cache if it is not there yet (needs a package index then).

use agent0_provision::{Cache, Event, python_env};
use std::process::Command;
use std::sync::Mutex;

#[test]
fn the_environment_is_made_once_and_works() {
    let cache = Cache::open().unwrap();
    let env = python_env(&cache, None, &|_| {}).unwrap();
    assert!(env.python.starts_with(cache.root()));
    let code = "from math_verify import parse, verify; print(verify(parse('$\\\\frac{1}{2}$'), parse('$0.5$')))";
    let output = Command::new(&env.python).args(["-I", "-c", code]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "True", "{}", String::from_utf8_lossy(&output.stderr));

    let events = Mutex::new(Vec::<Event>::new());
    assert_eq!(python_env(&cache, Some(&env.python), &|e| events.lock().unwrap().push(e)).unwrap(), env, "its base is the same Python");
    assert!(events.lock().unwrap().is_empty(), "the second time is instant");
}

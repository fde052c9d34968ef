//! The launcher as an executable of its own, for this crate's tests.

fn main() {
    agent0_sandbox::launcher_main()
}

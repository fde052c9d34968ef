//! A `python3` script plays interpreters that lack one thing or another; it logs what it is asked to do.

use super::*;
use crate::python::write_script;

/// Switches are files beside the script: `no-ensurepip`, `no-venv`, `no-pip`, `no-index`, `old`, `other-numpy`.
const SCRIPT: &str = r#"#!/bin/sh
here=HERE
echo "$*" | cut -c1-60 >> "$here/log"
install() {
  [ -e "$here/no-index" ] && { echo "ERROR: no matching distribution found" >&2; exit 1; }
  exit 0
}
case "$*" in
  *version_info*) [ -e "$here/old" ] && echo "3 9 2" || echo "3 11 7"; echo "$here/python3" ;;
  *find_spec*) for module in venv ensurepip pip; do [ -e "$here/no-$module" ] || echo "$module"; done ;;
  *"import numpy"*) [ -e "$here/other-numpy" ] && echo numpy==1.26.4 || echo numpy==2.4.6; echo sympy==1.14.0; echo math-verify==0.9.0 ;;
  "-m venv"*)
    [ -e "$here/no-venv" ] && { echo "No module named venv" >&2; exit 1; }
    for folder; do :; done
    mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python"
    case "$*" in *--without-pip*) ;; *) [ -e "$here/no-ensurepip" ] && { echo "ensurepip is not available" >&2; exit 1; } ;; esac ;;
  "-m pip --version") [ ! -e "$here/no-pip" ] ;;
  "-m pip"*) install ;;
  *) exit 2 ;;
esac
exit 0
"#;

struct Fixture {
    dir: tempfile::TempDir,
    cache: Cache,
}

fn fixture(switches: &[&str]) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let python = dir.path().join("python3");
    write_script(&python, &SCRIPT.replace("HERE", dir.path().to_str().unwrap()));
    for switch in switches {
        fs::write(dir.path().join(switch), "").unwrap();
    }
    Fixture { cache: Cache::at(dir.path().join("cache")).unwrap(), dir }
}

impl Fixture {
    fn make(&self) -> Result<PythonEnv, ProvisionError> {
        python_env(&self.cache, Some(&self.dir.path().join("python3")), &|_| {})
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

#[test]
fn the_outlook_tells_what_would_be_done() {
    for (switches, maker) in [(&[][..], Some(OWN_PIP)), (&["no-ensurepip"], Some(SYSTEM_PIP)), (&["no-pip"], Some(OWN_PIP))] {
        let f = fixture(switches);
        let outlook = || python_outlook(&f.cache, Some(&f.dir.path().join("python3"))).unwrap();
        assert_eq!((outlook().is_made, outlook().maker, outlook().version.as_str()), (false, maker, "3.11.7"), "{switches:?}");
        f.make().unwrap();
        assert!(outlook().is_made, "{switches:?}");
    }
    assert_eq!((maker("venv", || true), maker("ensurepip pip", || false)), (Some(UV), None));
    let old = fixture(&["old"]);
    assert!(python_outlook(&old.cache, Some(&old.dir.path().join("python3"))).unwrap_err().to_string().contains("too old"));
}

#[test]
fn an_environment_is_made_once() {
    let f = fixture(&[]);
    let env = f.make().unwrap();
    assert_eq!(env.version, "3.11.7");
    assert!(f.log().contains("-m venv --clear /") && f.log().contains("-m pip install"), "{}", f.log());
    let before = f.log().matches("-m venv").count();
    assert_eq!(f.make().unwrap(), env);
    assert_eq!(f.log().matches("-m venv").count(), before);
}

#[test]
fn without_ensurepip_the_systems_pip_installs() {
    let f = fixture(&["no-ensurepip"]);
    f.make().unwrap();
    assert!(f.log().contains("-m venv --clear --without-pip") && f.log().contains("-m pip --python"), "{}", f.log());
}

#[test]
fn a_killed_set_up_is_done_again() {
    let f = fixture(&[]);
    let env = f.make().unwrap();
    let folder = env.python.parent().unwrap().parent().unwrap();
    fs::remove_file(folder.join(STAMP)).unwrap();
    fs::write(folder.join("half-written"), "").unwrap();
    assert_eq!(f.make().unwrap(), env);
    assert!(!folder.join("half-written").exists() && folder.join(STAMP).exists());
}

#[test]
fn what_is_missing_is_named_with_a_remedy() {
    let cases: [(&[&str], &[&str]); 4] = [
        (&["no-venv", "no-pip"], &["No module named venv", "apt install python3-venv"]),
        (&["no-index"], &["no matching distribution", "network"]),
        (&["other-numpy"], &["numpy==1.26.4 was installed", "AGENT0_PYTHON"]),
        (&["old"], &["Python 3.9, too old", "3.10 or newer"]),
    ];
    for (switches, says) in cases {
        let f = fixture(switches);
        let message = f.make().unwrap_err().to_string();
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
        assert!(f.make().is_err(), "a failed set-up is not taken for a finished one");
    }
}

#[test]
fn every_supported_python_has_its_pins() {
    assert!(pins((3, 10, 14)).contains(&"numpy==2.2.6".to_string()));
    for minor in 11..=14 {
        assert!(pins((3, minor, 0)).contains(&"numpy==2.4.6".to_string()));
    }
    assert!(pins((3, 12, 1)).iter().all(|pin| pin.contains("==")));
}

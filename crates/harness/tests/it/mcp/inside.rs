//! A server behind the proxy that is a program of this machine, and looks around there (C126).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Pipe, Speaks,
    front::{Front, text},
};
use crate::support::program;

/// What each server has in its environment.
const OWN: &str = "c4nary-of-notes-0123456789";
const OTHERS: &str = "c4nary-of-other-0123456789";

/// Whether this machine holds programs in the tier that servers run in.
fn is_held() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let doctor = program(dir.path()).args(["-o", "json", "sandbox", "doctor"]).output().unwrap();
    let proven: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let mut tiers = proven["tiers"].as_array().unwrap().iter();
    let isolated = tiers.find(|tier| tier["tier"] == "isolated").unwrap();
    let Some(refused) = isolated.get("refused") else { return true };
    assert_ne!(std::env::var("HARNESS_TEST_SANDBOX").as_deref(), Ok("all"), "{refused}");
    println!("skipped: {refused}");
    false
}

/// Two servers as programs, each with a secret and a folder of its own.
fn open() -> Front {
    let front = Front::started("observe");
    let beside = front.dir().canonicalize().unwrap().join("beside");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("peeks"), "").unwrap();
    front.edit(
        "harness.toml",
        "kind = \"mcp\"\n",
        "kind = \"mcp\"\nsecrets = { TOKEN = \"notes\" }\nshared = true\n",
    );
    let config = fs::read_to_string(front.project().join("harness.toml")).unwrap();
    let (_, system) = config.split_once("[systems.notes").unwrap();
    let state = front.dir().canonicalize().unwrap().join("state").display().to_string();
    let system = format!("[systems.notes{system}")
        .replace("systems.notes", "systems.other")
        .replace("\"notes\"", "\"other\"")
        .replace(&state, &beside.display().to_string());
    let mut secrets = "[keys]\nreceipts = \"file:keys/receipts.key\"\n[secrets]\n".to_owned();
    for (name, value) in [("notes", OWN), ("other", OTHERS)] {
        let file = front.project().canonicalize().unwrap().join(format!("{name}.secret"));
        fs::write(&file, value).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        secrets.push_str(&format!("{name} = \"file:{}\"\n", file.display()));
    }
    front.join_as(&front, &format!("{system}\n{secrets}"));
    front
}

/// What a server sees of a place, in its own notes: what is secret is taken out of its answers anyway.
fn sees(front: &Front, pipe: &mut Pipe, (tool, folder): (&str, &str), place: &Path) -> String {
    let notes = || {
        let bytes = fs::read(front.dir().join(folder).join("notes")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let before = notes().len();
    let looked = pipe.call(tool, text(&place.display().to_string()));
    assert_eq!(looked["content"][0]["text"], "looked", "{looked:#}");
    notes().split_off(before).trim_end().to_owned()
}

/// Every file below a folder.
fn files(below: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).unwrap().flatten().map(|entry| entry.path());
    let (folders, mut all): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    all.extend(folders.iter().flat_map(|folder| files(folder)));
    all
}

/// It sees its own folder and its own secret, and of the harness and of the other server nothing: no store, no key, no
/// configuration, no secret, no folder, no process and no environment.
#[test]
fn a_server_sees_nothing_of_the_harness_and_of_other_servers() {
    if !is_held() {
        return;
    }
    let front = open();
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let environment = Path::new("/proc/self/environ");
    let own = sees(&front, &mut pipe, ("notes__peek", "state"), environment);
    assert!(own.contains(OWN) && !own.contains(OTHERS), "{own}");
    // The other one is there, and has something to take.
    let other = sees(&front, &mut pipe, ("other__peek", "beside"), environment);
    assert!(other.contains(OTHERS) && !other.contains(OWN), "{other}");
    let mut look = |place: &Path| sees(&front, &mut pipe, ("notes__peek", "state"), place);
    let folder = front.dir().canonicalize().unwrap();
    let state = look(&folder.join("state"));
    assert!(state.starts_with("seen: ") && state.contains("peeks"), "{state}");

    let project = front.project().canonicalize().unwrap();
    let mut places = files(&project);
    for there in ["harness.db", "receipts.key", "harness.toml", "other.secret", "notes.secret"] {
        assert!(places.iter().any(|path| path.ends_with(there)), "{there} is in {places:?}");
    }
    places.extend(files(&folder.join("beside")));
    places.extend([project.clone(), project.join(".harness"), folder.join("beside")]);
    for place in places {
        let seen = look(&place);
        assert!(seen.starts_with("nothing: "), "{}: {seen}", place.display());
        // Nor by way of whoever started it.
        let around = Path::new("/proc/1/root").join(place.strip_prefix("/").unwrap());
        let seen = look(&around);
        assert!(seen.starts_with("nothing: "), "{}: {seen}", around.display());
    }
    let processes = look(Path::new("/proc"));
    let numbers = processes.split(['\n', ' ']).filter(|name| name.parse::<u32>().is_ok());
    for number in numbers.map(str::to_owned).chain([std::process::id().to_string()]) {
        for part in ["environ", "cmdline"] {
            let seen = look(&Path::new("/proc").join(&number).join(part));
            assert!(!seen.contains(OTHERS), "{number} {part}: {seen}");
            assert!(!seen.contains("beside"), "{number} {part}: {seen}");
        }
    }
}

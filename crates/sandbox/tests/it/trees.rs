use std::{fs, io::Read, os::unix::net::UnixListener, path::Path};

use sandbox::{Bind, Profile, Sandbox, Tier, Tmpfs};

use super::{folder, sh, text, tiers};

fn tree() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = folder();
    let root = folder.path().to_owned();
    for path in ["open", "open/closed", "open/closed/deep", "open/fixed"] {
        fs::create_dir(root.join(path)).unwrap();
    }
    for path in ["open/a", "open/closed/b", "open/closed/deep/c", "open/fixed/d", "open/secret"] {
        fs::write(root.join(path), path).unwrap();
    }
    (folder, root)
}

/// C232: what is mounted to be read is not written, what is mounted to be written is, and nothing else is there.
#[test]
fn what_is_open_is_open_and_no_more() {
    let (_folder, root) = tree();
    let mut profile = Profile::default();
    profile.paths.read = vec![root.join("open/fixed")];
    profile.paths.write = vec![root.join("open/closed")];
    let script = format!(
        "cd /; r={}; cat $r/open/fixed/d; echo n > $r/open/closed/n && cat $r/open/closed/n; \
         echo x > $r/open/fixed/x; cat $r/open/a; ls $r; echo x > $r/y",
        root.display()
    );
    for tier in tiers() {
        let finished = sh(tier, &profile, &script);
        // In a tree of its own what leads to an open folder can be listed: it holds nothing else.
        let listed = if tier == Tier::Isolated { "open\n" } else { "" };
        let expected = format!("open/fixed/dn\n{listed}");
        assert_eq!(finished.output.text(), expected, "{}", text(&finished));
        assert_eq!(fs::read_to_string(root.join("open/closed/n")).unwrap(), "n\n");
        assert!(!root.join("open/fixed/x").exists() && !root.join("y").exists());
        fs::remove_file(root.join("open/closed/n")).unwrap();
    }
}

#[test]
fn in_a_tree_of_its_own_closed_wins_over_open_and_deeper_wins_over_closed() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let (_folder, root) = tree();
    let mut profile = Profile::default();
    profile.paths.write = vec![root.join("open")];
    profile.paths.none = vec![root.join("open/closed"), root.join("open/secret")];
    profile.paths.read = vec![root.join("open/fixed"), root.join("open/closed/deep")];
    let script = format!(
        "cd {}/open; cat a; cat closed/deep/c; cat fixed/d; echo; \
         cat closed/b; ls closed; cat secret; chmod 777 closed secret; cat secret; \
         echo x > fixed/x; echo x > closed/deep/x; echo x > closed/x; mv secret elsewhere; \
         rm secret; rmdir closed; echo done > made",
        root.display()
    );
    let finished = sh(Tier::Isolated, &profile, &script);
    assert_eq!(finished.output.text(), "open/aopen/closed/deep/copen/fixed/d\n");
    assert_eq!(fs::read_to_string(root.join("open/made")).unwrap(), "done\n");
    for path in ["open/secret", "open/closed/b", "open/closed/deep/c", "open/fixed/d"] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), path, "it is as it was");
    }
    assert!(!root.join("open/closed/x").exists() && !root.join("open/elsewhere").exists());
}

#[test]
fn other_names_of_open_paths_lead_there() {
    let (_folder, root) = tree();
    std::os::unix::fs::symlink(root.join("open/fixed"), root.join("alias")).unwrap();
    let mut profile = Profile::default();
    profile.paths.read = vec![root.join("alias")];
    for tier in tiers() {
        let script = format!("cat {0}/alias/d; cat {0}/open/fixed/d", root.display());
        assert_eq!(sh(tier, &profile, &script).output.text(), "open/fixed/dopen/fixed/d");
    }
}

#[test]
fn mounts_appear_where_they_are_said_to_be() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let (_folder, root) = tree();
    let mut profile = Profile::default();
    profile.mounts.read = vec![Bind { from: root.join("open/fixed"), at: "/data/in".into() }];
    profile.mounts.tmpfs = vec![Tmpfs { at: "/data/cache".into(), bytes: 1 << 20 }];
    let script = "cat /data/in/d; echo x > /data/in/x; echo c > /data/cache/c; cat /data/cache/c; \
                  head -c 4000000 /dev/zero > /data/cache/big; stat -c %s /data/cache/big";
    let finished = sh(Tier::Isolated, &profile, script);
    assert_eq!(finished.output.text(), "open/fixed/dc\n1044480\n", "{}", text(&finished));
    assert!(!root.join("open/fixed/x").exists());
    assert!(!Path::new("/data").exists(), "nothing is made on the host");
}

#[test]
fn a_place_to_mount_at_is_not_made_in_a_folder_of_the_hosts() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let (_folder, root) = tree();
    let mut profile = Profile::default();
    profile.paths.write = vec![root.join("open")];
    profile.mounts.tmpfs = vec![Tmpfs { at: root.join("open/new"), bytes: 4096 }];
    let command = sandbox::Command::new("/usr/bin/true");
    let error = super::local(Tier::Isolated).spawn(&profile, command);
    assert_eq!(error.unwrap_err().code(), "sandbox.profile");
    assert!(!root.join("open/new").exists());
}

#[test]
fn the_proxys_socket_is_there_and_no_other() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let (_folder, root) = tree();
    let path = root.join("proxy.sock");
    let _other = UnixListener::bind(root.join("other.sock")).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let profile = Profile { proxy: Some(path), ..Profile::default() };
    let script = "test -S \"$HARNESS_PROXY\" && echo socket; ls /run /run/harness";
    let finished = sh(Tier::Isolated, &profile, script);
    assert_eq!(finished.output.text(), "socket\n/run:\nharness\n\n/run/harness:\nproxy.sock\n");

    let sandbox = super::local(Tier::Isolated);
    let child =
        sandbox.spawn(&super::with_probe(profile), super::probe(&["say-to-proxy"])).unwrap();
    let (mut heard, _) = listener.accept().unwrap();
    let mut text = String::new();
    heard.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(child.wait().unwrap().outcome.is_success());
}

#[test]
fn temporary_folders_are_private_empty_and_gone_afterwards() {
    for tier in tiers() {
        let finished = sh(
            tier,
            &Profile::default(),
            "ls -A \"$TMPDIR\"; mkdir -p \"$TMPDIR/a/b\" && echo x > \"$TMPDIR/a/b/c\" && \
             chmod 000 a/b a; echo \"$TMPDIR\"",
        );
        let folder = finished.output.text();
        assert_eq!(folder.lines().count(), 1, "{folder}");
        let folder = folder.trim();
        assert_eq!(Path::new(folder).exists(), tier == Tier::Isolated, "{folder}");
    }
}

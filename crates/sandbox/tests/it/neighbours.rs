//! Sandboxes beside and inside of each other.

use sandbox::{Account, Command, Holder, Profile, Sandbox, Tier};

use super::{folder, is_root, local, reachable_launcher, run, sh, text, tiers};

/// C126: neither the memory nor the files nor the processes of one are there for the other.
#[test]
fn two_sandboxes_of_one_account_never_meet() {
    for tier in tiers() {
        let one = Command::new("/bin/sh").arguments(["-c", "echo s > s; exec sleep 600"]);
        let one = local(tier).spawn(&Profile::default(), one).unwrap();
        let script = format!(
            "kill -TERM {0}; kill -KILL -{0}; cat /proc/{0}/cmdline /proc/{0}/environ; \
             for f in /tmp/harness-sandbox-*; do ls $f; cat $f/s; echo x > $f/x; done",
            one.id()
        );
        let two = sh(tier, &Profile::default(), &script);
        assert_eq!(two.output.text(), "", "{tier:?}: {}", text(&two));
        one.kill();
        let outcome = one.wait().unwrap().outcome;
        assert!(outcome.asked, "it was there until the end: {outcome:?}");
    }
}

/// An ordinary user inside of the isolated tier, where nobody makes user namespaces.
fn nested(tier: Tier) -> String {
    let folder = folder();
    let copy = reachable_launcher(folder.path());
    let mut profile = Profile::default();
    profile.paths.read = vec![copy.clone()];
    profile.run_as = is_root().then_some(Account { uid: 65532, gid: 65532 });
    let command = Command::new(&copy).arguments(["nested", tier.name()]);
    text(&run(Tier::Isolated, &profile, command))
}

#[test]
fn where_user_namespaces_are_missing_the_restricted_tier_counts_the_account_and_says_so() {
    if !super::runs(Tier::Restricted) {
        return;
    }
    let said = nested(Tier::Restricted);
    assert!(said.starts_with(&format!("{:?} hello\n", Holder::SharedAccount)), "{said}");
    assert!(said.to_lowercase().contains("fork"), "the limit holds: {said}");
}

/// C230: a kernel that lacks a feature is told from one that has it, by the feature's name.
#[test]
fn where_namespaces_are_missing_the_isolated_tier_is_refused_by_name() {
    if !super::runs(Tier::Isolated) {
        return;
    }
    let said = nested(Tier::Isolated);
    assert!(said.starts_with("sandbox.unenforceable: "), "{said}");
    assert!(said.contains("namespaces missing"), "{said}");
}

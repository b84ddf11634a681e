use crate::{
    Sandbox, Tier,
    child::Child,
    error::{Error, Feature},
    local::{Command, Enforcement},
    profile::Profile,
};

/// What a virtual machine for each program would need, and this version does not have.
const NEEDED: &str = "a virtual machine for each program needs the program `firecracker` with its jailer, a `/dev/kvm` \
                      that this account may open, a kernel image and a root file system pinned by their digests, and \
                      a process inside that takes orders over a socket of the machine; this version has none of it";

/// Programs on a kernel of their own. Every profile is refused, with what is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct MicroVm;

impl Sandbox for MicroVm {
    fn tier(&self) -> Tier {
        Tier::MicroVm
    }

    fn check(&self, profile: &Profile) -> Result<Enforcement, Error> {
        profile.check()?;
        Err(Error::lacking(Feature::MicroVm, NEEDED))
    }

    fn spawn(&self, profile: &Profile, _command: Command) -> Result<Child, Error> {
        self.check(profile)?;
        Err(Error::lacking(Feature::MicroVm, NEEDED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // C227
    #[test]
    fn nothing_runs_and_the_refusal_says_what_is_needed() {
        let error = MicroVm.spawn(&Profile::default(), Command::new("/bin/true")).unwrap_err();
        assert_eq!(error.code(), "sandbox.unenforceable");
        for needed in ["firecracker", "/dev/kvm", "kernel image"] {
            assert!(error.to_string().contains(needed), "{error}");
        }
        assert!(MicroVm.check(&Profile::default()).is_err());
    }
}

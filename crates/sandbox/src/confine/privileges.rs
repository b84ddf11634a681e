use rustix::{
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
        set_no_new_privs,
    },
};

use crate::{
    control::Control,
    wire::{At, Fault, Order},
};

/// Drops every capability from every set, and closes the ways by which one could come back.
pub(super) fn drop(order: &Order) -> Result<(), Fault> {
    if order.omitted.keeps(Control::Capabilities) {
        empty_sets()?;
    }
    // Without this an ordinary user could not filter its calls, so it goes only where the test asks for it.
    if order.omitted.keeps(Control::NoNewPrivileges) {
        set_no_new_privs(true).at("no new privileges")?;
    }
    // Only until the program is executed: exec sets it back. See docs/adr/0030.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at("not dumpable")
}

/// Drops all capabilities of this process for good.
pub(crate) fn empty_sets() -> Result<(), Fault> {
    clear_ambient_capability_set().at("ambient capabilities")?;
    let known = CapabilitySet::all().iter();
    for capability in known {
        // Without CAP_SETPCAP nothing is in the other sets either; a kernel may not know the newest.
        remove_capability_from_bounding_set(capability).unwrap_or(());
    }
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    // An ordinary user without a namespace of its own may not, and has nothing to lose.
    set_capabilities_secure_bits(locked).unwrap_or(());
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).at("capabilities")
}

//! What is in force when nothing else is installed.

/// The operator layer where an operator has none: declared reads that stay inside, nothing else.
/// Nothing in it permits a write, so every write is denied until an operator's rule names it.
pub const STARTER: &str = r#"@id("starter.read")
@reason("Reading from a declared system is allowed.")
permit (principal, action in Action::"read", resource)
unless { action in Action::"egress" };
"#;

/// What an operator inherits beside own permits: these only ever take away.
pub const INHERITED: &str = r#"@id("inherited.irreversible")
@reason("This cannot be taken back, so a person decides.")
forbid (principal, action in Action::"irreversible", resource)
unless { context.evidence.approvals.approver >= 1 };

@id("inherited.unarmed")
@reason("Nothing is armed to take this back, so a person decides.")
forbid (principal, action in Action::"write", resource)
unless {
  ["restore", "compensate"].contains(context.evidence.rollback) ||
  context.evidence.approvals.approver >= 1
};

@id("inherited.tainted")
@reason("Untrusted input had a say in this, so a person decides.")
forbid (principal, action in Action::"write", resource)
when { context.labels.run.trust == "untrusted" }
unless { context.evidence.approvals.approver >= 1 };

@id("inherited.confidential")
@reason("Confidential data does not leave.")
forbid (principal, action in Action::"egress", resource)
when { ["confidential", "secret"].contains(context.labels.args.confidentiality) };
"#;

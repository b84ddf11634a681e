//! Fifty rules in three layers, of which more than ten apply to each measured operation.

use std::fmt::Write as _;

use policy::{INHERITED, Layer, Source};

/// Rules altogether.
pub(crate) const RULES: usize = 50;

/// Operations beside the measured ones, which the other rules are about.
pub(crate) const OTHERS: usize = 10;

/// Above this amount in minor units a manager is asked.
pub(crate) const ASKED_ABOVE: i64 = 5_000_000;

const OPERATOR: &str = r#"
@id("op.permit") @reason("The agent may work on accounts.")
permit (principal, action in [Action::"crm.get_account", Action::"crm.set_forecast", Action::"files.read"], resource);
@id("op.calls") @reason("Too many calls.")
forbid (principal, action, resource) when { context.run.calls > 2000000 };
@id("op.denied") @reason("Too many denials.")
forbid (principal, action, resource) when { context.run.denied > 20 };
@id("op.service") @reason("Only people are acted for.")
forbid (principal, action, resource)
when { context.on_behalf_of.kind == "service" && context.autonomy == "l3" };
@id("op.backtest") @reason("Backtests change nothing.")
forbid (principal, action, resource) when { context.mode == "backtest" && context.run.writes > 0 };
@id("op.large") @reason("A large forecast needs a manager.")
forbid (principal, action == Action::"crm.set_forecast", resource)
when { context.args.amount.minor > 5000000 }
unless { context.evidence.approvals.manager >= 1 };
"#;

const TENANT: &str = r#"
@id("tn.permit") @reason("The tenant allows its agents.")
permit (principal in Tenant::"default", action, resource);
@id("tn.account") @reason("These accounts are closed.")
forbid (principal, action in [Action::"crm.get_account", Action::"crm.set_forecast"], resource)
when { ["ACC-9001", "ACC-9002", "ACC-9003"].contains(context.args.account) };
@id("tn.secret") @reason("Nothing secret goes in.")
forbid (principal, action, resource) when { context.labels.args.confidentiality == "secret" };
@id("tn.special") @reason("No special categories of data.")
forbid (principal, action, resource) when { context.classes.contains("special_category") };
@id("tn.untrusted") @reason("Untrusted text does not decide.")
forbid (principal, action, resource)
when { context.labels.existence.trust == "untrusted" && context.autonomy == "l3" };
"#;

const PACK: &str = r#"
@id("pk.permit") @reason("The pack reads and writes.")
permit (principal, action, resource);
@id("pk.same") @reason("The same call too often.")
forbid (principal, action, resource) when { context.run.same_operation > 1000000 };
@id("pk.role") @reason("Sales only.")
forbid (principal, action, resource) unless { principal in Role::"sales" };
@id("pk.partial") @reason("No guesses after a partial answer.")
forbid (principal, action in Action::"write", resource) when { context.recoveries.contains("partial") };
"#;

/// The layers: those above, and rules about other operations up to [`RULES`].
pub(crate) fn sources() -> Vec<Source> {
    let texts =
        [(Layer::Operator, format!("{OPERATOR}{INHERITED}")), (Layer::Tenant, TENANT.to_owned())];
    let mut sources: Vec<Source> = texts
        .into_iter()
        .chain([(Layer::Pack, PACK.to_owned())])
        .map(|(layer, text)| Source { layer, name: format!("{layer}.cedar"), text })
        .collect();
    let written = sources.iter().map(|source| source.text.matches("@id(").count()).sum();
    let layers = sources.len();
    for n in written..RULES {
        let Some(source) = sources.get_mut(n % layers) else { continue };
        let other = n % OTHERS;
        // Writing into a string cannot fail.
        let _ = write!(
            source.text,
            "@id(\"other.{n}\") @reason(\"About something else.\")\n\
             forbid (principal, action == Action::\"other.op{other}\", resource)\n\
             when {{ context.args.id == \"X-{n}\" }};\n"
        );
    }
    sources
}

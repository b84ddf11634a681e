//! The run machine through its surface: inputs in, events and permits out.
#[cfg(test)]
mod agent_hooks;
#[cfg(test)]
mod approvals;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod doubts;
#[cfg(test)]
mod elicits;
#[cfg(test)]
mod exceptions;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod halts;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod model_calls;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod relays;
#[cfg(test)]
mod rollbacks;

//! The playbook planner as its users see it: observations in, moves out.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod agent_context;
#[cfg(test)]
mod agent_hooks;
#[cfg(test)]
mod agent_interference;
#[cfg(test)]
mod agent_notes;
#[cfg(test)]
mod agent_quarantine;
#[cfg(test)]
mod agent_room;
#[cfg(test)]
mod agent_sensors;
#[cfg(test)]
mod agent_skills;
mod agent_words;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod interference;
#[cfg(test)]
mod labels;
#[cfg(test)]
mod length;
#[cfg(test)]
mod random;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod support;

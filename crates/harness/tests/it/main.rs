//! The product through its command line, and the laws of the house.

#[cfg(test)]
mod a2a;
#[cfg(test)]
mod acp;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod api;
#[cfg(test)]
mod arrows;
#[cfg(test)]
mod attachments;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod coder;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod domains;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod folders;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod hooks_agents;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod labels;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod locked;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod oidc;
#[cfg(test)]
mod onboarding;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod recover;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod support;
#[cfg(test)]
mod ui;
#[cfg(test)]
mod walls;
#[cfg(test)]
mod web;
#[cfg(test)]
mod work;
#[cfg(test)]
mod workers;
#[cfg(test)]
mod wrapped;

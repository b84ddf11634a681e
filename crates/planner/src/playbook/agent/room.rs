//! Room for what is told next: a conversation is shortened before it outgrows its limit, and when the model finds it
//! too long all the same.
//!
//! What is told is estimated here and counted by providers afterwards. Where a provider reads less than was
//! declared it says so; then the conversation is told again with half of it, as another prompt, so that it stands in the
//! journal as what it is, and a replay comes to the same.

use kernel::{
    agent::StopReason,
    conversation::{bytes_of, tokens, weight},
};

use super::{super::desk::Desk, AgentCode, Frame, Mode, Progress, say};

/// Most bytes that a summary is made of.
const SUMMARY_OF_MAX_BYTES: usize = 200_000;

/// How often in a row a conversation is told again, shorter.
const SQUEEZED_MAX: u32 = 3;

/// Weight of what stands around the values of a run.
const STATE_WRAPPED: usize = 64;

/// What is told with the beginning of a conversation besides its texts, by weight.
pub(super) fn base(code: &AgentCode) -> usize {
    let tools: usize = code.offered.iter().map(kernel::conversation::Tool::weight).sum();
    let output = code.spec.output.as_ref().map_or(0, |output| weight(&output.to_string()));
    tools.saturating_add(output)
}

impl Frame {
    /// Shortens the conversation where it has grown too long, each stage only as far as needed; the progress is that
    /// somebody sums up first, or that even what must be told does not fit.
    pub(super) fn make_room(&mut self, desk: &mut Desk) -> Option<Progress> {
        // Shortened to half, so that it is not shortened again at once.
        let (most, half) = (self.window.saturating_mul(3) / 4, self.window / 2);
        if self.talk.tokens() > most
            && !self.talk.shorten(half, self.spent.turns)
            && let Some(progress) = self.sum_up(desk)
        {
            return Some(progress);
        }
        self.make_fit(desk)
    }

    /// The last stage.
    fn make_fit(&mut self, desk: &mut Desk) -> Option<Progress> {
        let room = self.window.saturating_sub(self.kept_for_state());
        if self.machine < 5 || self.talk.tokens() <= room || self.talk.fit(room, self.spent.turns) {
            return None;
        }
        Some(self.conclude(desk, StopReason::Budget, self.seen.clone()))
    }

    /// Tokens that values of the run may take, which are told after all else.
    fn kept_for_state(&self) -> u64 {
        let state = self.code.spec.context.state.as_ref();
        state.map_or(0, |state| u64::from(state.tokens_max).saturating_add(tokens(STATE_WRAPPED)))
    }

    /// Has the oldest turns summed up; `None` where nobody does that or there is nothing to gain.
    fn sum_up(&mut self, desk: &mut Desk) -> Option<Progress> {
        self.code.summary.as_ref()?;
        // What sums up has to read it: it is told no more than a conversation may have.
        let read = u32::try_from(self.window / 2).unwrap_or(u32::MAX);
        let most = if self.machine < 5 { SUMMARY_OF_MAX_BYTES } else { bytes_of(read) };
        let old = self.talk.old(most.min(SUMMARY_OF_MAX_BYTES))?;
        self.mode = Mode::Summing;
        let prompt = say::summary_wanted(&self.path, self.prompts, old);
        Some(self.ask(desk, &prompt))
    }

    /// Nobody sums up: the conversation goes on as short as it can be told.
    pub(super) fn go_on_unsummed(&mut self, desk: &mut Desk) -> Progress {
        if self.machine < 5 {
            return self.ask_model(desk);
        }
        if let Some(progress) = self.make_fit(desk) {
            return progress;
        }
        self.tell_state();
        self.ask_model(desk)
    }

    /// The model finds the conversation too long: it is told again with half of it. `None` where that was done often
    /// enough, or half of it is less than must be told.
    pub(super) fn tell_less(&mut self, desk: &mut Desk) -> Option<Progress> {
        if self.mode == Mode::Summing || self.machine < 5 || self.squeezed >= SQUEEZED_MAX {
            return None;
        }
        self.squeezed = self.squeezed.saturating_add(1);
        let refused = self.talk.estimated();
        self.window = self.window.min(refused.saturating_mul(3) / 4);
        let (half, turns) = (refused / 2, self.spent.turns);
        let room = self.window.saturating_sub(self.kept_for_state());
        let fits = self.talk.shorten(half, turns)
            || self.talk.fit(half.min(room), turns)
            || self.talk.fit(room, turns);
        if !fits {
            return None;
        }
        self.tell_state();
        Some(self.ask_model(desk))
    }
}

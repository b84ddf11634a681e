//! What waits at a driver's door: deliveries not yet decided, and the replies owed for them.
//!
//! It outlives a fold: when a batch cannot be appended, the input is still in the inbox and whoever
//! asked still gets the answer of the fold that takes it.

use std::collections::{HashMap, VecDeque};

use kernel::{
    input::Input,
    port::Posted,
    run::{Fault, Refused},
};
use tokio::sync::{mpsc, oneshot};

use crate::Error;

/// How an input was taken.
pub(crate) type Taken = Result<(), Refused>;
/// Where the answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Taken, Error>>;

/// A message for a run that somebody drives.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Boxed: a mailbox is laid out for thirty-two deliveries, and most runs never get one.
    pub(crate) posted: Box<Posted>,
    pub(crate) reply: Option<Reply>,
    /// Seats it came too late for.
    pub(crate) missed: u8,
}

/// The mailbox of one run while somebody drives it.
#[derive(Debug)]
pub(crate) struct Desk {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    waiting: VecDeque<Posted>,
    replies: HashMap<String, Vec<Reply>>,
    /// Decided, not durable yet: no answer leaves before it is.
    taken: Vec<(String, Taken)>,
    deciding: Option<String>,
    /// Inputs that the machine could not take: consumed with the next batch, never tried again.
    poison: Vec<String>,
}

impl Desk {
    pub(crate) fn new(deliveries: mpsc::UnboundedReceiver<Delivery>) -> Self {
        Self {
            deliveries,
            waiting: VecDeque::new(),
            replies: HashMap::new(),
            taken: Vec::new(),
            deciding: None,
            poison: Vec::new(),
        }
    }

    fn accept(&mut self, delivery: Delivery) {
        let Delivery { posted, reply, .. } = delivery;
        self.replies.entry(posted.signal_id.clone()).or_default().extend(reply);
        self.waiting.push_back(*posted);
    }

    /// Takes in what has been delivered so far; true when something waits.
    pub(crate) fn collect(&mut self) -> bool {
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.accept(delivery);
        }
        !self.waiting.is_empty()
    }

    /// Waits for the next delivery; `None` once the door is closed.
    pub(crate) async fn receive(&mut self) -> Option<()> {
        let delivery = self.deliveries.recv().await?;
        self.accept(delivery);
        Some(())
    }

    /// Puts the inbox of a fresh claim first. What was collected before the claim and is not in the
    /// inbox was dealt with by an earlier driver: the same signal is taken once.
    pub(crate) fn open_inbox(&mut self, inbox: Vec<Posted>) {
        let known = |id: &str| inbox.iter().any(|posted| posted.signal_id == id);
        let (fresh, stale): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|posted| posted.input == Input::Hold || known(&posted.signal_id));
        for posted in stale {
            let refused = Refused::Late("this message was taken before");
            self.taken.push((posted.signal_id, Err(refused)));
        }
        self.waiting = inbox.into_iter().filter(|p| !self.poison.contains(&p.signal_id)).collect();
        self.waiting.extend(fresh);
    }

    /// The next input to decide.
    pub(crate) fn next(&mut self) -> Option<Posted> {
        let posted = self.waiting.pop_front()?;
        self.deciding = Some(posted.signal_id.clone());
        Some(posted)
    }

    /// Notes how the input that [`Desk::next`] gave was taken.
    pub(crate) fn note(&mut self, signal_id: String, taken: Taken) {
        self.deciding = None;
        self.taken.push((signal_id, taken));
    }

    /// Everything decided is durable: the answers leave.
    pub(crate) fn answer(&mut self) {
        for (id, taken) in std::mem::take(&mut self.taken) {
            for reply in self.replies.remove(&id).into_iter().flatten() {
                // Whoever asked may have gone; the journal knows.
                let _gone = reply.send(Ok(taken.clone()));
            }
        }
    }

    /// The run in memory was dropped. The input it fell over, if one, is set aside.
    pub(crate) fn forget(&mut self, fault: Option<&Fault>) {
        self.taken.clear();
        let deciding = self.deciding.take();
        let (Some(id), Some(fault)) = (deciding, fault) else { return };
        for reply in self.replies.remove(&id).into_iter().flatten() {
            let _gone = reply.send(Err(fault.clone().into()));
        }
        self.poison.push(id);
    }

    /// What the next batch consumes without having taken it.
    pub(crate) fn take_poison(&mut self) -> Vec<String> {
        std::mem::take(&mut self.poison)
    }

    /// Nobody drives the run on: whoever still waits hears why.
    pub(crate) fn fail(&mut self, error: &Error) {
        for reply in std::mem::take(&mut self.replies).into_values().flatten() {
            let _gone = reply.send(Err(error.clone()));
        }
    }

    /// Closes the door; returns what came too late to be taken.
    pub(crate) fn close(&mut self) -> Vec<Delivery> {
        self.deliveries.close();
        let mut late = Vec::new();
        while let Ok(delivery) = self.deliveries.try_recv() {
            late.push(delivery);
        }
        late
    }
}

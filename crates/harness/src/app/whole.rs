//! The app, for those of its parts that have to ask all of it.

use std::sync::{Arc, OnceLock, Weak};

use super::App;

/// The app that a part belongs to: nothing until it is put together, and never kept alive by its parts.
#[derive(Debug, Default)]
pub(super) struct Whole(OnceLock<Weak<App>>);

impl Whole {
    /// It is put together.
    pub(super) fn is(&self, app: &Arc<App>) {
        // There is one.
        drop(self.0.set(Arc::downgrade(app)));
    }

    /// It, as long as it is there.
    pub(super) fn get(&self) -> Option<Arc<App>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

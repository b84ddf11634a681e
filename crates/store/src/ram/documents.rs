//! Documents in RAM.

use kernel::{
    id::{At, Tenant},
    port::Task,
};

use crate::{
    Error,
    documents::{Document, Documents, Expected, Kept, check, next_version},
};

use super::{Ram, ready};

impl Documents for Ram {
    fn keep(
        &self,
        tenant: &Tenant,
        document: Document,
        expected: Expected,
    ) -> Task<'_, Result<u64, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move {
            check(&document)?;
            let mut memory = self.lock();
            let place = (tenant.clone(), document.kind, document.id.clone());
            let found = memory.documents.get(&place).map(|kept| kept.version);
            let version = next_version(found, expected, &document)?;
            let Document { id, due, body, .. } = document;
            memory.writes += 1;
            memory.documents.insert(place, Kept { tenant, id, version, due, body });
            Ok(version)
        })
    }

    fn document(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        id: &str,
    ) -> Task<'_, Result<Option<Kept>, Error>> {
        let place = (tenant.clone(), kind, id.to_owned());
        ready(Ok(self.lock().documents.get(&place).cloned()))
    }

    fn documents(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        (after, limit): (Option<String>, usize),
    ) -> Task<'_, Result<Vec<Kept>, Error>> {
        let memory = self.lock();
        let after = after.unwrap_or_default();
        let wanted = |((owner, sort, id), _): &(&super::Place, &Kept)| {
            owner == tenant && *sort == kind && *id > after
        };
        let found = memory.documents.iter().filter(wanted).take(limit);
        ready(Ok(found.map(|(_, kept)| kept.clone()).collect()))
    }

    fn due_documents(
        &self,
        kind: &'static str,
        now: At,
        limit: usize,
    ) -> Task<'_, Result<Vec<Kept>, Error>> {
        let memory = self.lock();
        let due = |((_, sort, _), kept): &(&super::Place, &Kept)| {
            *sort == kind && kept.due.is_some_and(|due| due <= now)
        };
        let mut found: Vec<Kept> =
            memory.documents.iter().filter(due).map(|(_, kept)| kept.clone()).collect();
        found.sort_by_key(|kept| kept.due);
        found.truncate(limit);
        ready(Ok(found))
    }

    fn discard(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        id: &str,
    ) -> Task<'_, Result<bool, Error>> {
        let place = (tenant.clone(), kind, id.to_owned());
        ready(Ok(self.lock().documents.remove(&place).is_some()))
    }
}

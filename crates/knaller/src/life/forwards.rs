//! Changing the forwards of a machine that runs, as one part of an update. The invariant: the record says that a change
//! is under way from before it begins until it is whole or taken back; whoever is killed meanwhile leaves it to be
//! taken back.

use std::sync::Arc;

use super::update::{Updated, save};
use crate::knaller::Inner;
use crate::layout::Files;
use crate::network::live::{self, Wishes};
use crate::record::Record;
use crate::{Forward, MachineSpec, Name, Result, list, task};

/// What it is called where its changes are told.
pub(super) const NAME: &str = "port forwards";

/// Forwards that a machine has, before its record says so.
#[derive(Debug)]
pub(super) struct Moved {
    before: Vec<Forward>,
    wishes: Wishes,
}

impl Moved {
    /// Has a machine that runs follow a new spec. The record has the forwards then; if it fails all is as it was.
    pub(super) async fn to(
        inner: &Arc<Inner>,
        files: &Files,
        record: &mut Record,
        spec: &MachineSpec,
    ) -> Result<Self> {
        let moved = Self {
            wishes: Wishes::of(record, spec),
            before: record.forwards.clone(),
        };
        record.changed = Some(live::under_way(record));
        save(files.clone(), record.clone()).await?;
        match apply(inner, files, record, &moved.wishes.now).await {
            Ok(forwards) => {
                record.forwards = forwards;
                Ok(moved)
            }
            Err(error) => {
                let name = record.name.clone();
                moved.back(inner, files, record).await;
                Err(list::blame(inner, Some(&name), error).await)
            }
        }
    }

    /// Takes it back. What cannot be now is left to whoever heals the machine.
    pub(super) async fn back(self, inner: &Arc<Inner>, files: &Files, record: &mut Record) {
        let name: Name = record.name.clone();
        record.forwards = self.before;
        let undone = async {
            apply(inner, files, record, &record.forwards).await?;
            settle(record);
            save(files.clone(), record.clone()).await
        };
        if let Err(error) = undone.await {
            tracing::warn!(%name, %error, "the port forwards are not all as they were");
        }
    }

    /// It is for good, as soon as the record is written.
    pub(super) fn stay(self, record: &mut Record) {
        settle(record);
    }

    /// What of it holds, and what does not yet.
    pub(super) fn tell(&self, updated: &mut Updated) {
        updated.now.push(NAME);
        if self.wishes.later {
            updated
                .next_start
                .push("port forwards at another address of the host");
        }
        if self.wishes.lingering {
            updated.next_start.push("release of host ports that lead nowhere");
        }
    }
}

fn settle(record: &mut Record) {
    if let Some(changed) = &mut record.changed {
        changed.under_way = false;
    }
}

async fn apply(
    inner: &Arc<Inner>,
    files: &Files,
    record: &Record,
    wanted: &[Forward],
) -> Result<Vec<Forward>> {
    let (inner, files, record, wanted) = (Arc::clone(inner), files.clone(), record.clone(), wanted.to_vec());
    task::blocking(move |_| live::apply(&inner.options, &files, &record, &wanted)).await
}

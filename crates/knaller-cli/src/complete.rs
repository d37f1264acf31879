//! Answers to the shell while the user types: our words, and the names of what there is.
//!
//! A shell whose script came from `knaller completion` runs this program with [`VARIABLE`] set at every press of Tab.
//! So nothing here may be slow, say anything, or fail: no answer is an answer.

use std::ffi::OsString;
use std::future::Future;
use std::time::Duration;

use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use images::bundle::KernelStore;
use images::store::Store;
use knaller::{Knaller, Name, Options, TemplateInfo, VolumeInfo};

/// Set by the shell's script to the shell's name.
pub(crate) const VARIABLE: &str = "KNALLER_COMPLETE";

/// Longer than this nobody waits for a suggestion.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers, if this is a shell's question.
pub(crate) fn answer(words: &[OsString]) -> bool {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(crate::command)
        .var(VARIABLE)
        .try_complete(words.iter().cloned(), folder.as_deref())
        .unwrap_or(true)
}

/// The names of all machines, with their state.
pub(crate) fn machines() -> Vec<CompletionCandidate> {
    let found = ask(|knaller| async move {
        let machines = knaller.list().await?.into_iter();
        let damaged = knaller.damaged().await?.into_iter();
        let machines = machines.map(|machine| (machine.name, machine.state.as_str()));
        Ok(machines
            .chain(damaged.map(|machine| (machine.name, "damaged")))
            .collect::<Vec<_>>())
    });
    let candidate = |(name, state): (Name, &'static str)| {
        CompletionCandidate::new(name.as_str()).help(Some(state.into()))
    };
    found.into_iter().map(candidate).collect()
}

/// When a machine may be started again.
pub(crate) fn restarts() -> Vec<CompletionCandidate> {
    let policies = ["no", "on-failure", "on-failure:5", "always"];
    policies.into_iter().map(CompletionCandidate::new).collect()
}

/// The names of all volumes.
pub(crate) fn volumes() -> Vec<CompletionCandidate> {
    let volumes: Vec<VolumeInfo> = ask(|knaller| async move { knaller.volumes().await });
    let names = volumes.iter().map(|volume| volume.name.as_str());
    names.map(CompletionCandidate::new).collect()
}

/// The names of all snapshots.
pub(crate) fn snapshots() -> Vec<CompletionCandidate> {
    let names = ask(|knaller| async move {
        let snapshots = knaller.snapshots().await?.into_iter();
        let damaged = knaller.damaged_snapshots().await?.into_iter();
        let names = snapshots.map(|snapshot| snapshot.name);
        Ok(names
            .chain(damaged.map(|snapshot| snapshot.name))
            .collect::<Vec<_>>())
    });
    names
        .iter()
        .map(|name| CompletionCandidate::new(name.as_str()))
        .collect()
}

/// The keys of all templates, with the size of their machines.
pub(crate) fn templates() -> Vec<CompletionCandidate> {
    let templates: Vec<TemplateInfo> = ask(|knaller| async move { knaller.templates().await });
    let candidate = |template: TemplateInfo| {
        let size = format!(
            "{} CPUs, {} MiB, {}",
            template.cpus, template.memory_mib, template.vmm
        );
        CompletionCandidate::new(template.key).help(Some(size.into()))
    };
    templates.into_iter().map(candidate).collect()
}

/// The kernels, by version and name.
pub(crate) fn kernels() -> Vec<CompletionCandidate> {
    let Ok(store) = KernelStore::open(&Options::from_env().paths.data) else {
        return Vec::new();
    };
    let names = store
        .names()
        .unwrap_or_default()
        .into_iter()
        .map(|(name, _)| name);
    let versions = store
        .list()
        .unwrap_or_default()
        .into_iter()
        .map(|bundle| bundle.manifest().version.clone());
    names.chain(versions).map(CompletionCandidate::new).collect()
}

/// The names of all images.
pub(crate) fn images() -> Vec<CompletionCandidate> {
    let Ok(store) = Store::open(&Options::from_env().paths.data) else {
        return Vec::new();
    };
    let images = store.list().unwrap_or_default();
    let names = images.iter().flat_map(|listed| &listed.image.names);
    names
        .map(|name| CompletionCandidate::new(name.familiar()))
        .collect()
}

/// What a machine can start from without a registry.
pub(crate) fn roots() -> Vec<CompletionCandidate> {
    let always = ["builtin", "initramfs"].map(CompletionCandidate::new);
    always.into_iter().chain(images()).collect()
}

/// What the library answers in time; nothing otherwise.
fn ask<T: Default, F: Future<Output = knaller::Result<T>>>(question: impl FnOnce(Knaller) -> F) -> T {
    let Ok(knaller) = Knaller::open(Options::from_env()) else {
        return T::default();
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return T::default();
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, question(knaller)).await });
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

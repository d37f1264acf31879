//! Takes the steps of cases, each case with a fresh server.

use std::time::Duration;

use hyper::Uri;
use tokio::time::timeout;

use super::case::{Step, patch, put};
use super::cases::{boot_source, small_machine};
use super::check::difference;
use super::{Capability, Case, Files, Fresh, Outcome, Phase, Report, Server, Verdict, all};
use crate::Client;

/// How long a case may take, guests started and all. A server that hangs is to be told from one that is slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs the cases that `wanted` picks, one after the other.
pub async fn run<S: Server>(server: &S, wanted: impl Fn(&Case) -> bool) -> Report {
    let mut report = Report::default();
    for case in all().into_iter().filter(|case| wanted(case)) {
        let verdict = match unfit(server, &case) {
            Some(why) => Verdict::Skipped(why),
            None => match timeout(PATIENCE, judge(server, &case)).await {
                Ok(Ok(())) => Verdict::Kept,
                Ok(Err(how)) => Verdict::Broken(how),
                Err(_) => Verdict::Broken(format!("not over after {} s", PATIENCE.as_secs())),
            },
        };
        report.outcomes.push(Outcome {
            name: case.name,
            verdict,
        });
    }
    report
}

/// Why a case is not for this server.
fn unfit<S: Server>(server: &S, case: &Case) -> Option<String> {
    if case.phase != Phase::NotStarted && !server.offers(Capability::Start) {
        return Some("the server does not offer Start".to_owned());
    }
    if let Some(missing) = case.needs.iter().find(|capability| !server.offers(**capability)) {
        return Some(format!("the server does not offer {missing:?}"));
    }
    let offered = case.lacks.filter(|capability| server.offers(*capability))?;
    Some(format!("the server offers {offered:?}"))
}

async fn judge<S: Server>(server: &S, case: &Case) -> Result<(), String> {
    let first = fresh(server).await?;
    take_all(&first, plan(case, &first.files)).await?;
    let afterwards = (case.then)(&first.files);
    if !afterwards.is_empty() {
        let second = fresh(server).await?;
        take_all(&second, afterwards)
            .await
            .map_err(|how| format!("afterwards, {how}"))?;
    }
    Ok(())
}

async fn fresh<S: Server>(server: &S) -> Result<Fresh, String> {
    server
        .fresh()
        .await
        .map_err(|error| format!("no server: {error}"))
}

async fn take_all(fresh: &Fresh, steps: Vec<Step>) -> Result<(), String> {
    let client = Client::new(&fresh.socket);
    for (index, step) in steps.into_iter().enumerate() {
        take(&client, &step)
            .await
            .map_err(|how| format!("step {}, {} {}: {how}", index + 1, step.method, step.path))?;
    }
    Ok(())
}

/// The case's own steps, after those that bring the guest where the case wants it.
fn plan(case: &Case, files: &Files) -> Vec<Step> {
    let mut steps = (case.prepare)(files);
    if case.phase != Phase::NotStarted {
        steps.push(put("/machine-config", small_machine()).done());
        steps.push(put("/boot-source", boot_source(files)).done());
        steps.push(put("/actions", r#"{"action_type":"InstanceStart"}"#).done());
    }
    if case.phase == Phase::Paused {
        steps.push(patch("/vm", r#"{"state":"Paused"}"#).done());
    }
    steps.extend((case.steps)(files));
    steps
}

async fn take(client: &Client, step: &Step) -> Result<(), String> {
    let path: Uri = step.path.parse().map_err(|error| format!("no path: {error}"))?;
    let body = step.body.clone().map(Into::into);
    match client.send_raw(step.method.clone(), path, body).await {
        Ok(answer) => difference(step, &answer).map_or(Ok(()), Err),
        Err(error) => Err(error.to_string()),
    }
}

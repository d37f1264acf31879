//! Whether the doctor sees what is there and what is not.

use knaller::doctor::{Check, Verdict};

use crate::support::Bed;

fn find<'a>(checks: &'a [Check], id: &str) -> &'a Check {
    checks
        .iter()
        .find(|check| check.id == id)
        .unwrap_or_else(|| panic!("no check {id}: {checks:?}"))
}

#[tokio::test]
async fn a_host_that_runs_machines_is_well() {
    let bed = Bed::new();
    let checks = bed.knaller.doctor().await;
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Failed)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    // The last and hardest: a namespace with all that a machine's has was made.
    assert_eq!(find(&checks, "network").verdict, Verdict::Ok);
}

#[tokio::test]
async fn what_is_missing_has_a_remedy() {
    let bed = Bed::with(|options| {
        options.programs.pasta = Some("/nowhere/pasta".into());
        options.programs.powerunit = Some("/nowhere/powerunit".into());
    });
    std::fs::remove_dir_all(bed.sandbox.data().join("knaller/kernels")).unwrap();
    let checks = bed.knaller.doctor().await;
    for id in ["pasta", "powerunit", "kernel"] {
        let check = find(&checks, id);
        assert_eq!(check.verdict, Verdict::Failed, "{check:?}");
        assert!(check.remedy.is_some(), "{check:?}");
    }
    // Without pasta there is nothing to try.
    assert!(checks.iter().all(|check| check.id != "network"));
    let error = bed.knaller.fix(find(&checks, "pasta")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no remedy for pasta that can be applied"
    );
}

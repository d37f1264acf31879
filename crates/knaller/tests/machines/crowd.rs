//! Many at once.

use std::collections::HashSet;

use knaller::{StartOptions, State};

use crate::support::{Bed, bare};

#[tokio::test]
async fn ten_machines_started_at_once() {
    let bed = Bed::new();
    let starts: Vec<_> = (0..10)
        .map(|_| {
            let mut spec = bare("x").memory_mib(96).forward("0:80".parse().unwrap());
            spec.name = None;
            let knaller = bed.knaller.clone();
            tokio::spawn(async move { knaller.start(spec, StartOptions::default(), &mut |_| {}).await })
        })
        .collect();
    let mut machines = Vec::new();
    for start in starts {
        machines.push(start.await.unwrap().unwrap_or_else(|error| panic!("{error}")).0);
    }
    let listed = bed.knaller.list().await.unwrap();
    assert!(
        listed.iter().all(|info| info.state == State::Running),
        "{listed:?}"
    );
    let names: HashSet<_> = listed.iter().map(|info| info.name.clone()).collect();
    let ports: HashSet<_> = listed.iter().map(|info| info.forwards[0].host_port).collect();
    assert_eq!((names.len(), ports.len()), (10, 10));
    for machine in &machines {
        machine.kill().await.unwrap();
        machine.remove().await.unwrap();
    }
}

#[tokio::test]
async fn of_many_starts_with_one_name_one_succeeds() {
    let bed = Bed::new();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let knaller = bed.knaller.clone();
            tokio::spawn(async move {
                knaller
                    .start(bare("same"), StartOptions::default(), &mut |_| {})
                    .await
            })
        })
        .collect();
    let mut started = Vec::new();
    for start in starts {
        match start.await.unwrap() {
            Ok((machine, _)) => started.push(machine),
            Err(error) => assert!(matches!(error, knaller::Error::NameTaken { .. }), "{error}"),
        }
    }
    assert_eq!(started.len(), 1);
    crate::support::end(&started[0]).await;
}

//! Taking a template ahead of time.
//!
//! The way is that of every first start of a shape: a machine is started until its guest has been kept and asks what it
//! is to be, and is gone right afterwards.

use std::sync::Arc;

use super::{TemplateInfo, Templates};
use crate::knaller::Inner;
use crate::start::{self, StartEvent, StartOptions, Wait};
use crate::{Error, MachineSpec, Origin, Restart, Result, task};

/// The template of this machine's shape, and whether it was taken just now.
pub(crate) async fn make(
    inner: &Arc<Inner>,
    spec: MachineSpec,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<(TemplateInfo, bool)> {
    // What is no part of a shape, and would only stand in the way.
    let spec = MachineSpec {
        name: None,
        hostname: None,
        forwards: Vec::new(),
        publish_all: false,
        command: Vec::new(),
        restart: Restart::No,
        remove_on_exit: true,
        ..spec
    };
    let options = StartOptions {
        wait: Wait::Config,
        ..StartOptions::default()
    };
    let before = list(inner).await?;
    let mut slower = None;
    let mut observer = |event| {
        if let StartEvent::Slower { message, class } = &event {
            slower = Some((message.clone(), *class));
        }
        observer(event);
    };
    let (machine, _) = start::create(inner, spec.clone(), options, &mut observer).await?;
    let warm = machine.info().await.map(|info| info.origin == Origin::Warm);
    // It goes with its end.
    match machine.kill().await {
        Ok(_) | Err(Error::NotRunning(_) | Error::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    let warm = warm?;
    let fits =
        |info: &TemplateInfo| info.cpus == spec.cpus && info.memory_mib == spec.memory_mib && !info.stale;
    // Those used last come first.
    let found = list(inner).await?.into_iter().find(fits);
    match found {
        Some(info) if warm => Ok((info, false)),
        Some(info) if !before.iter().any(|old| old.key == info.key) => Ok((info, true)),
        _ => {
            let (reason, class) =
                slower.unwrap_or_else(|| ("another start is taking it just now".to_owned(), None));
            Err(Error::NoTemplateKept { reason, class })
        }
    }
}

async fn list(inner: &Arc<Inner>) -> Result<Vec<TemplateInfo>> {
    let paths = inner.options.paths.clone();
    task::blocking(move |_| Templates::open(&paths)?.list()).await
}

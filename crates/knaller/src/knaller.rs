//! The door to everything.

use std::sync::Arc;

use crate::doctor::Check;
use crate::{
    Error, Machine, MachineInfo, MachineSpec, Options, Paths, Result, StartEvent, StartOptions, Timeline,
};

/// The machines of one data folder. Cheap to clone; holds no lock and no state but where things are, so that any number
/// of processes may use the same folders at once.
#[derive(Clone, Debug)]
pub struct Knaller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
}

impl Knaller {
    /// Makes the folders if need be and checks that they are this user's alone.
    pub fn open(options: Options) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner { options }),
        })
    }

    /// As [`Self::open`] with [`Options::new`].
    pub fn with_paths(paths: Paths) -> Result<Self> {
        Self::open(Options::new(paths))
    }

    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Makes and starts a machine. On failure, and if the future is dropped, nothing of it is left.
    pub async fn start(
        &self,
        spec: MachineSpec,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<(Machine, Timeline)> {
        let _ = (options, observer);
        spec.validate()?;
        Err(Error::NoKernel)
    }

    /// All machines, by name. Those that run are asked at once.
    pub async fn list(&self) -> Result<Vec<MachineInfo>> {
        Ok(Vec::new())
    }

    /// The machine of this name.
    pub async fn get(&self, name: &str) -> Result<Machine> {
        let name = name.parse().map_err(|_| Error::NotFound(name.to_owned()))?;
        Ok(Machine::new(Arc::clone(&self.inner), name))
    }

    /// Checks everything that a start needs.
    pub async fn doctor(&self) -> Vec<Check> {
        Vec::new()
    }

    /// Applies the remedy of a fixable check: says what was done.
    pub async fn fix(&self, check: &Check) -> Result<String> {
        Err(Error::NotFound(check.id.clone()))
    }
}

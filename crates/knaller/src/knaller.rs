//! The door to everything.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use images::Task;

use crate::doctor::{self, Check};
use crate::snapshot::{self, Held, Imported, Snapshots};
use crate::template::{self, Templates};
use crate::{
    About, Adopted, Adoption, Damaged, DiskUsage, Error, Events, Filter, Healed, Machine, MachineInfo,
    MachineSpec, Name, Options, Paths, RawSnapshot, RestoreSpec, Result, SnapshotInfo, StartEvent,
    StartOptions, Supervisor, TemplateInfo, Timeline, damage, folder, heal, layout, life, list, start,
    supervise, system, task,
};

/// The machines of one data folder. Cheap to clone; holds no lock and no state but where things are, so that any number
/// of processes may use the same folders at once.
#[derive(Clone, Debug)]
pub struct Knaller {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
}

impl Knaller {
    /// Makes the folders if need be, and checks that nobody else can write to them.
    pub fn open(options: Options) -> Result<Self> {
        let absolute = |path: &std::path::Path| std::path::absolute(path).map_err(Error::io("find", path));
        let paths = Paths {
            data: absolute(&options.paths.data)?,
            runtime: absolute(&options.paths.runtime)?,
        };
        layout::prepare(&paths)?;
        Ok(Self {
            inner: Arc::new(Inner {
                options: Options { paths, ..options },
            }),
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
        start::create(&self.inner, spec, options, observer).await
    }

    /// All machines, by name. Those that run are asked at once.
    pub async fn list(&self) -> Result<Vec<MachineInfo>> {
        heal::all(&self.inner).await?;
        list::all(&self.inner).await
    }

    /// The machines whose records cannot be read, by name: [`Self::list`] leaves them out. They can be killed and removed.
    pub async fn damaged(&self) -> Result<Vec<Damaged>> {
        let inner = Arc::clone(&self.inner);
        task::blocking(move |_| damage::machines(&inner)).await
    }

    /// The snapshots whose descriptions cannot be read, by name: [`Self::snapshots`] leaves them out. They can be removed.
    pub async fn damaged_snapshots(&self) -> Result<Vec<Damaged>> {
        let paths = self.options().paths.clone();
        task::blocking(move |_| Snapshots::open(&paths)?.damaged()).await
    }

    /// Takes charge of the machine of this name, which runs: whoever started it, its end is noticed from now on.
    pub async fn adopt(&self, name: &str) -> Result<Adopted> {
        let valid: Name = name.parse().map_err(|_| Error::NotFound(name.to_owned()))?;
        life::adopt(&self.inner, &valid).await
    }

    /// Takes charge of all machines that run.
    pub async fn adopt_all(&self) -> Result<Adoption> {
        life::adopt_all(&self.inner).await
    }

    /// Keeps the machines of these names as their [`crate::Restart`] policies say; without names, all that have one. Nobody
    /// does while no [`Supervisor`] is asked for what happens next.
    pub async fn supervise(&self, names: Vec<Name>) -> Result<Supervisor> {
        Supervisor::open(&self.inner, names).await
    }

    /// Whether some process on this host keeps machines as their policies say.
    pub fn is_supervised(&self) -> Result<bool> {
        supervise::is_supervised(&self.inner.options.paths)
    }

    /// What happens to machines from now on.
    pub async fn events(&self) -> Result<Events> {
        Events::open(&self.inner).await
    }

    /// The machine of this name.
    pub async fn get(&self, name: &str) -> Result<Machine> {
        let valid: Name = name.parse().map_err(|_| Error::NotFound(name.to_owned()))?;
        heal::one(&self.inner, &valid).await?;
        if !folder::is_one(&layout::files(&self.inner.options.paths, &valid).data) {
            return Err(Error::NotFound(name.to_owned()));
        }
        Ok(Machine::new(Arc::clone(&self.inner), valid))
    }

    /// Makes and starts a machine of a snapshot.
    pub async fn restore(
        &self,
        snapshot: &Name,
        spec: RestoreSpec,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<(Machine, Timeline)> {
        let (paths, name) = (self.options().paths.clone(), snapshot.clone());
        let held = task::blocking(move |_| Snapshots::open(&paths)?.chain(&name)).await?;
        Box::pin(snapshot::restore(&self.inner, held, spec, options, observer)).await
    }

    /// Makes and starts a machine of what [`Machine::create_raw`] gave. `disks` are copies of the disks that it was to
    /// copy then, in the same order: they are the new machine's raw disk and volumes, and stay their owner's. What is
    /// in the two files and on the disks is not checked: it has to be of one moment.
    pub async fn restore_raw(
        &self,
        snapshot: RawSnapshot,
        disks: Vec<PathBuf>,
        spec: RestoreSpec,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<(Machine, Timeline)> {
        Box::pin(snapshot::restore_raw(
            &self.inner,
            snapshot,
            disks,
            spec,
            options,
            observer,
        ))
        .await
    }

    /// All snapshots, by name.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let paths = self.options().paths.clone();
        task::blocking(move |_| Snapshots::open(&paths)?.list()).await
    }

    /// The snapshot of this name.
    pub async fn snapshot(&self, name: &Name) -> Result<SnapshotInfo> {
        Ok(self.held(name).await?.info())
    }

    /// Removes a snapshot on which no other builds, or with all that do, where that is wanted: which. Machines made of
    /// them live on.
    pub async fn remove_snapshot(&self, name: &Name, recursive: bool) -> Result<Vec<Name>> {
        let (paths, name) = (self.options().paths.clone(), name.clone());
        task::blocking(move |_| Snapshots::open(&paths)?.remove(&name, recursive)).await
    }

    /// Makes a snapshot that builds on others need none of them: killed at any moment, it is the one or the other. What
    /// builds on it goes on to, and machines made of it live on.
    pub async fn merge_snapshot(&self, name: &Name) -> Result<SnapshotInfo> {
        let (paths, name) = (self.options().paths.clone(), name.clone());
        task::blocking(move |task| snapshot::merge(&paths, &name, task)).await
    }

    /// Takes away what was put together of snapshots that build on others, where no machine is being made of it: of how
    /// many, and how many bytes. The next machine has it put together again. Only of those that meet all of `filters`.
    pub async fn prune_snapshots(&self, filters: &[Filter]) -> Result<(usize, u64)> {
        let (paths, filters) = (self.options().paths.clone(), filters.to_vec());
        task::blocking(move |_| snapshot::prune(&paths, &filters)).await
    }

    /// Writes a snapshot to `out`: one file that [`import_snapshot`](Self::import_snapshot) reads, and `tar --zstd`
    /// too. Blocks.
    ///
    /// # Errors
    /// There is none of this name, it needs a file of this host, `out` cannot be written, or `task` is called off.
    pub fn export_snapshot(&self, name: &Name, out: impl Write, task: &Task) -> Result<()> {
        let held = Snapshots::open(&self.options().paths)?.chain(name)?;
        snapshot::export(self.options(), &held, out, task)
    }

    /// Keeps a snapshot of another host, under the name that it has there or another. What it was taken with and on must be
    /// had here when it is loaded: the VMM, the processor, the image of its machine. Whoever made the file is taken for a
    /// stranger: what it says of a host, not of the guest, does not hold here ([`Imported::changed`]). Blocks.
    ///
    /// # Errors
    /// The input is damaged or none, there is one of this name, the disk is full, or `task` is called off. Nothing is
    /// kept then.
    pub fn import_snapshot(&self, input: impl Read, name: Option<Name>, task: &Task) -> Result<Imported> {
        snapshot::import(self.options(), input, name, task)
    }

    async fn held(&self, name: &Name) -> Result<Held> {
        let (paths, name) = (self.options().paths.clone(), name.clone());
        task::blocking(move |_| Snapshots::open(&paths)?.get(&name)).await
    }

    /// What was kept for warm starts, used last first.
    pub async fn templates(&self) -> Result<Vec<TemplateInfo>> {
        self.templates_do(|templates| templates.list()).await
    }

    /// Takes a template for machines of this spec's shape ahead of their first start, unless there is one: the template, and
    /// whether it is new. No machine stays.
    pub async fn make_template(
        &self,
        spec: MachineSpec,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<(TemplateInfo, bool)> {
        Box::pin(template::make(&self.inner, spec, observer)).await
    }

    /// Removes the template whose key begins so, and gives its key. Machines made of it live on; the next of its shape boots.
    pub async fn remove_template(&self, key: &str) -> Result<String> {
        let key = key.to_owned();
        self.templates_do(move |templates| templates.remove(&key)).await
    }

    /// Removes templates that no start will use again, or all: how many, and how many bytes they took. Only those that meet
    /// all of `filters`.
    pub async fn prune_templates(&self, all: bool, filters: &[Filter]) -> Result<(usize, u64)> {
        let filters = filters.to_vec();
        self.templates_do(move |templates| templates.prune(all, &filters))
            .await
    }

    async fn templates_do<T: Send + 'static>(
        &self,
        work: impl FnOnce(Templates) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let paths = self.options().paths.clone();
        task::blocking(move |_| work(Templates::open(&paths)?)).await
    }

    /// Puts right what killed processes have left, and says what that was. VMMs that belong to no machine are ended only by
    /// `force`.
    pub async fn prune(&self, force: bool) -> Result<Vec<Healed>> {
        system::prune(&self.inner, force).await
    }

    /// What takes how much of the disk, and how much of that could be free again. `all` is that of
    /// [`Self::prune_images`] and [`Self::prune_templates`].
    pub async fn disk_usage(&self, all: bool) -> Result<DiskUsage> {
        system::disk_usage(&self.inner, all).await
    }

    /// What this host has for machines: programs, folders, accelerator, limits.
    pub async fn about(&self) -> Result<About> {
        system::about(&self.inner).await
    }

    /// Checks everything that a start needs.
    pub async fn doctor(&self) -> Vec<Check> {
        doctor::run(&self.inner).await
    }

    /// Applies the remedy of a fixable check: says what was done.
    pub async fn fix(&self, check: &Check) -> Result<String> {
        doctor::apply(&self.inner, check).await
    }
}

//! The commands, one file each, in the order of the help.

mod commit;
mod completion;
mod cp;
mod damaged;
mod doctor;
mod each;
mod events;
mod exec;
mod fork;
mod forward;
mod generate;
mod help;
mod image;
mod inspect;
mod kernel;
mod kill;
mod list;
mod login;
mod logout;
mod logs;
mod machine;
mod manual;
mod pause;
mod proxy;
mod prune;
mod ps;
mod rename;
mod restart;
mod resume;
mod rm;
mod run;
mod snapshot;
mod ssh;
mod ssh_config;
mod start;
mod stats;
mod stop;
mod supervise;
mod system;
mod template;
mod update;
mod version;
mod volume;
mod wait;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::Ui;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Start(Box<start::StartArgs>),
    Run(Box<run::RunArgs>),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Stop(stop::StopArgs),
    Restart(restart::RestartArgs),
    Kill(kill::KillArgs),
    Rm(rm::RmArgs),
    Rename(rename::RenameArgs),
    Update(Box<update::UpdateArgs>),
    Pause(pause::PauseArgs),
    Resume(resume::ResumeArgs),
    Fork(fork::ForkArgs),
    Snapshot(snapshot::SnapshotArgs),
    Ssh(ssh::SshArgs),
    Exec(exec::ExecArgs),
    Cp(cp::CpArgs),
    Commit(commit::CommitArgs),
    Logs(logs::LogsArgs),
    Events(events::EventsArgs),
    Stats(stats::StatsArgs),
    Ps(ps::PsArgs),
    Inspect(inspect::InspectArgs),
    Forward(forward::ForwardArgs),
    Wait(wait::WaitArgs),
    Supervise(supervise::SuperviseArgs),
    Generate(generate::GenerateArgs),
    SshConfig(ssh_config::SshConfigArgs),
    Doctor(doctor::DoctorArgs),
    Prune(prune::PruneArgs),
    System(system::SystemArgs),
    #[command(visible_alias = "images")]
    Image(image::ImageArgs),
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
    Kernel(kernel::KernelArgs),
    Volume(volume::VolumeArgs),
    Template(template::TemplateArgs),
    Completion(completion::CompletionArgs),
    Version(version::VersionArgs),
    Help(help::HelpArgs),
    #[command(hide = true)]
    Proxy(proxy::ProxyArgs),
    #[command(hide = true)]
    Manual(manual::ManualArgs),
}

impl Command {
    /// Does it, and says which code to end with.
    pub(crate) async fn run(self, ui: Ui) -> Result<u8, CommandError> {
        match self {
            Self::Completion(command) => command.run(ui).map(|()| 0),
            Self::Version(command) => command.run(ui).map(|()| 0),
            Self::Help(command) => command.run(ui).map(|()| 0),
            Self::Manual(command) => command.run(ui).map(|()| 0),
            command => command.run_with(Context::open(ui)?).await,
        }
    }

    async fn run_with(self, context: Context) -> Result<u8, CommandError> {
        match self {
            Self::Start(command) => Box::pin(command.run(context)).await,
            Self::Run(command) => Box::pin(command.run(context)).await,
            Self::List(command) => command.run(context).await.map(|()| 0),
            Self::Stop(command) => command.run(context).await,
            Self::Restart(command) => command.run(context).await,
            Self::Kill(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
            Self::Rename(command) => command.run(context).await,
            Self::Update(command) => Box::pin(command.run(context)).await,
            Self::Pause(command) => command.run(context).await,
            Self::Resume(command) => command.run(context).await,
            Self::Fork(command) => Box::pin(command.run(context)).await.map(|()| 0),
            Self::Snapshot(command) => Box::pin(command.run(context)).await,
            Self::Ssh(command) => command.run(context).await,
            Self::Exec(command) => command.run(context).await,
            Self::Cp(command) => command.run(context).await.map(|()| 0),
            Self::Commit(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await.map(|()| 0),
            Self::Events(command) => command.run(context).await,
            Self::Stats(command) => command.run(context).await.map(|()| 0),
            Self::Ps(command) => command.run(context).await.map(|()| 0),
            Self::Inspect(command) => command.run(context).await.map(|()| 0),
            Self::Forward(command) => command.run(context).await,
            Self::Wait(command) => command.run(context).await,
            Self::Supervise(command) => command.run(context).await,
            Self::Generate(command) => command.run(context).await.map(|()| 0),
            Self::SshConfig(command) => command.run(context).await.map(|()| 0),
            Self::Doctor(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
            Self::System(command) => command.run(context).await,
            Self::Image(command) => Box::pin(command.run(context)).await,
            Self::Login(command) => command.run(context).await.map(|()| 0),
            Self::Logout(command) => command.run(context).await.map(|()| 0),
            Self::Kernel(command) => command.run(context).await,
            Self::Volume(command) => command.run(context).await,
            Self::Template(command) => command.run(context).await,
            Self::Proxy(command) => command.run(context).await.map(|()| 0),
            Self::Completion(_) | Self::Version(_) | Self::Help(_) | Self::Manual(_) => Ok(0),
        }
    }
}

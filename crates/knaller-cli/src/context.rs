//! What most commands need: a voice, and the library opened where the environment says.

use knaller::{Knaller, Machine, Name, Options};

use crate::error::CommandError;
use crate::ui::Ui;

#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) knaller: Knaller,
}

impl Context {
    pub(crate) fn open(ui: Ui) -> Result<Self, CommandError> {
        let knaller = Knaller::open(Options::from_env())?;
        Ok(Self { ui, knaller })
    }

    pub(crate) async fn machine(&self, name: &Name) -> Result<Machine, CommandError> {
        Ok(self.knaller.get(name.as_str()).await?)
    }
}

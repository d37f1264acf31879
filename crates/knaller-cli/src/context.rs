//! What most commands need: a voice, and the library opened where the environment says.

use knaller::{Knaller, Machine, Name, Options};

use crate::error::CommandError;
use crate::ui::Ui;

#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) knaller: Knaller,
}

/// Sets limits on images: see [`images::convert::Limits`].
const IMAGE_LIMITS: &str = "KNALLER_IMAGE_LIMITS";

/// Sets the addresses of links to machines: see [`knaller::Pool`].
const POOL: &str = "KNALLER_POOL";

/// Sets the users of root's machines: see [`knaller::UserRange`].
const USERS: &str = "KNALLER_USERS";

impl Context {
    pub(crate) fn open(ui: Ui) -> Result<Self, CommandError> {
        let mut options = Options::from_env();
        if let Ok(limits) = std::env::var(IMAGE_LIMITS) {
            let limits = limits
                .parse()
                .map_err(|error| CommandError::usage(format!("{IMAGE_LIMITS}: {error}")))?;
            options.image_limits = limits;
        }
        if let Ok(pool) = std::env::var(POOL) {
            let pool = pool
                .parse()
                .map_err(|error| CommandError::usage(format!("{POOL}: {error}")))?;
            options.pool = Some(pool);
        }
        if let Ok(users) = std::env::var(USERS) {
            let users = users
                .parse()
                .map_err(|error| CommandError::usage(format!("{USERS}: {error}")))?;
            options.users = users;
        }
        let knaller = Knaller::open(options)?;
        Ok(Self { ui, knaller })
    }

    pub(crate) async fn machine(&self, name: &Name) -> Result<Machine, CommandError> {
        Ok(self.knaller.get(name.as_str()).await?)
    }
}

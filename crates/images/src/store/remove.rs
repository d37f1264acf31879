//! Taking names and images away.

use super::collect::Collected;
use super::{Store, StoreError};
use crate::oci::{Descriptor, Digest, Reference};

/// What a removal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The names that are no more.
    pub names: Vec<Reference>,
    /// The image that is no more, if that was its last name.
    pub image: Option<Digest>,
    /// What was removed with it. `None`: somebody is adding to the store just now, and a later command collects.
    pub collected: Option<Collected>,
}

impl Store {
    /// Gives the image that `what` stands for a further name.
    ///
    /// # Errors
    /// There is none, or the index cannot be written.
    pub fn tag(&self, what: &str, name: &Reference) -> Result<(), StoreError> {
        let image = self.find(what)?;
        self.update_index(|index| index.set(name, &image))
    }

    /// Removes what `what` stands for: a name, while the image has others; else the image. `in_use` says who uses an image, as
    /// a person would call them.
    ///
    /// # Errors
    /// There is none; it is in use; or `what` is the id of an image with several names.
    pub fn remove(&self, what: &str, in_use: impl Fn(&Digest) -> Vec<String>) -> Result<Removed, StoreError> {
        let image = self.find(what)?;
        let index = self.index()?;
        let names = index.names_of(&image.digest);
        let name: Option<Reference> = what.parse().ok().map(|name: Reference| name.stored());
        let name = name.filter(|name| names.contains(name));
        match name {
            Some(name) if names.len() > 1 => {
                self.update_index(|index| index.unset(&name))?;
                Ok(Removed {
                    names: vec![name],
                    image: None,
                    collected: None,
                })
            }
            None if names.len() > 1 => Err(StoreError::SeveralNames {
                what: what.to_owned(),
                names: names.iter().map(Reference::familiar).collect(),
            }),
            _ => self.remove_image(what, &image, names, in_use),
        }
    }

    fn remove_image(
        &self,
        what: &str,
        image: &Descriptor,
        names: Vec<Reference>,
        in_use: impl Fn(&Digest) -> Vec<String>,
    ) -> Result<Removed, StoreError> {
        // Asked with the lock held: who begins to use an image holds the store until it can be seen.
        let lock = self.removing()?;
        let users = in_use(&image.digest);
        if !users.is_empty() {
            return Err(StoreError::InUse {
                what: what.to_owned(),
                users,
            });
        }
        let collected = if let Some(lock) = lock {
            self.update_index(|index| index.forget(&image.digest))?;
            Some(self.collect(&lock, &in_use)?)
        } else {
            self.update_index(|index| index.mark_removed(image))?;
            None
        };
        Ok(Removed {
            names,
            image: Some(image.digest.clone()),
            collected,
        })
    }
}

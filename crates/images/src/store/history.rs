//! How an image was built, step by step.

use super::image::Image;
use crate::oci::{Descriptor, History};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub history: History,
    /// The layer it made.
    pub layer: Option<Descriptor>,
}

impl Image {
    /// The steps, the first first. The history says which made a layer; layers that it does not tell of come last, as steps
    /// of which nothing is known, so all layers are listed.
    #[must_use]
    pub fn history(&self) -> Vec<Step> {
        let mut layers = self.manifest.layers.iter();
        let mut steps: Vec<Step> = Vec::new();
        for history in &self.config.history {
            let layer = if history.empty_layer { None } else { layers.next() };
            steps.push(Step {
                history: history.clone(),
                layer: layer.cloned(),
            });
        }
        steps.extend(layers.map(|layer| Step {
            history: History::default(),
            layer: Some(layer.clone()),
        }));
        steps
    }
}

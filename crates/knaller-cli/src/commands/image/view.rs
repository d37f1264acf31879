//! An image as every list and inspection shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use images::oci::{Digest, Reference};
use images::store::Listed as ListedImage;
use jiff::Timestamp;
use knaller::Filtered;
use serde::Serialize;

use crate::ui::Listed;
use crate::ui::human;
use crate::ui::table::{Cell, Column, Tone};

/// The one view of an image. Programs rely on its field names.
#[derive(Debug, Serialize)]
pub(super) struct ImageView {
    /// Of its manifest.
    pub(super) id: String,
    /// As short as they can be written.
    pub(super) names: Vec<String>,
    /// Empty where the image does not say.
    pub(super) platform: String,
    pub(super) created: Option<Timestamp>,
    /// Of the disk, root file system included, bytes.
    pub(super) size: u64,
    /// What of it no other image has too, bytes.
    pub(super) unique: u64,
    /// Machines that are made of it.
    pub(super) used_by: Vec<String>,
    /// What its configuration says of it.
    labels: BTreeMap<String, String>,
    /// All its names, or its id: what other commands take.
    #[serde(skip)]
    called: String,
    #[serde(skip)]
    short_id: String,
    #[serde(skip)]
    short_names: Vec<String>,
    #[serde(skip)]
    references: Vec<Reference>,
}

impl ImageView {
    pub(super) fn new(listed: &ListedImage, users: impl FnOnce(&Digest) -> Vec<String>) -> Self {
        let image = &listed.image;
        let names: Vec<_> = image.names.iter().map(Reference::familiar).collect();
        let short_id = image.digest.short().to_owned();
        let called = if names.is_empty() {
            short_id.clone()
        } else {
            names.join("\n")
        };
        let platform = &image.config.platform;
        Self {
            id: image.digest.to_string(),
            platform: if platform.architecture.is_empty() {
                String::new()
            } else {
                platform.to_string()
            },
            created: image.config.created,
            size: listed.sizes.total(),
            unique: listed.sizes.unique(),
            used_by: users(&image.digest),
            labels: image.config.run.labels.clone(),
            called,
            short_id,
            short_names: image.names.iter().map(short).collect(),
            references: image.names.clone(),
            names,
        }
    }
}

impl Filtered for ImageView {
    fn is_called(&self, part: &str) -> bool {
        self.names.iter().any(|name| name.contains(part))
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    fn state(&self) -> Option<&str> {
        Some(if self.used_by.is_empty() { "unused" } else { "used" })
    }

    fn references(&self) -> Vec<&Reference> {
        self.references.iter().collect()
    }
}

/// A name with no more of its digest than tells it from others.
fn short(name: &Reference) -> String {
    let whole = name.familiar();
    match (name.digest(), whole.split_once('@')) {
        (Some(digest), Some((before, _))) => format!("{before}@{}…", digest.short()),
        _ => whole,
    }
}

impl Listed for ImageView {
    const COLUMNS: &'static [Column] = &[
        Column::wrapping("NAME", 0),
        Column::new("ID", 0),
        Column::new("SIZE", 1),
        Column::new("UNIQUE", 4),
        Column::new("AGE", 5),
        Column::wrapping("USED BY", 2),
    ];

    fn name(&self) -> &str {
        &self.called
    }

    fn cells(&self) -> Vec<Cell> {
        let names = if self.short_names.is_empty() {
            Cell::new("(no name)", Tone::Faint)
        } else {
            Cell::new(self.short_names.join(", "), Tone::Strong)
        };
        vec![
            names,
            self.short_id.as_str().into(),
            human::bytes(self.size).into(),
            human::bytes(self.unique).into(),
            self.created.map_or_else(String::new, age).into(),
            self.used_by.join(", ").into(),
        ]
    }
}

pub(super) fn age(created: Timestamp) -> String {
    human::age(Duration::try_from(Timestamp::now().duration_since(created)).unwrap_or_default())
}

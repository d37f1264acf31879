//! The commands that keep something of a machine for later ones, each with every fault: the template of a shape, an image,
//! a difference between two moments.

use serde_json::Value;

use super::invariants::{Broken, done, json, name};
use super::matrix::{After, Ended, Scenario, sweep};
use super::scenarios::{START, goes_on, gone, made, running, running_by};
use crate::world::World;

fn listed(world: &World, what: &str) -> Result<Vec<Value>, Broken> {
    let listed = json(world, &[what, "ls", "-o", "json"])?;
    listed
        .as_array()
        .cloned()
        .ok_or_else(|| format!("no list of {what}s"))
}

/// A first start of a shape, which takes its template.
struct Shape;

impl Scenario for Shape {
    fn words(&self) -> Vec<&str> {
        START.to_vec()
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        gone(world, "x")?;
        done(world, &["template", "prune", "--all"]).map(drop)
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        made(after, "x")?;
        if listed(after.world, "template")?.is_empty() {
            return match after.fault {
                None => Err("there is no template".to_owned()),
                Some(_) => Ok(()),
            };
        }
        // Whole is what can be thawed.
        done(after.world, &["start", "y", "--detach", "--memory", "128M"])?;
        let y = json(after.world, &["inspect", "y", "-o", "json"])?;
        gone(after.world, "y")?;
        if y["warm"] == true {
            Ok(())
        } else {
            Err("the template is of no use".to_owned())
        }
    }
}

#[test]
fn a_first_start_of_a_shape() {
    sweep("start that takes a template", &mut Shape);
}

/// An image of a machine that runs.
#[derive(Default)]
struct Commit {
    known: bool,
}

impl Scenario for Commit {
    fn words(&self) -> Vec<&str> {
        vec!["commit", "x", "changed"]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        if listed(world, "image")?.is_empty() {
            world.import_base();
        }
        running_by(
            world,
            &[&START[..], &["--image", "base"]].concat(),
            &mut self.known,
        )
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        goes_on(after)?;
        let names = done(after.world, &["image", "ls", "-o", "name"])?;
        if !names.contains("changed") {
            return if after.ended == Ended::Done {
                Err("there is no image".to_owned())
            } else {
                Ok(())
            };
        }
        // Whole is what can be started.
        let run = ["run", "--memory", "128M", "changed", "cat", "/root/mark"];
        let disk = done(after.world, &run)?;
        done(after.world, &["image", "rm", "changed"])?;
        if disk == "kept\n" {
            Ok(())
        } else {
            Err(format!("the image has {disk:?}"))
        }
    }
}

#[test]
fn a_commit() {
    sweep("commit", &mut Commit::default());
}

/// What has changed since another snapshot.
#[derive(Default)]
struct Difference {
    known: bool,
}

impl Scenario for Difference {
    fn words(&self) -> Vec<&str> {
        vec!["snapshot", "create", "x", "--name", "d", "--diff"]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        gone(world, "y")?;
        if !listed(world, "snapshot")?.is_empty() {
            done(world, &["snapshot", "rm", "--recursive", "s"])?;
        }
        running(world, &mut self.known)?;
        done(world, &["exec", "x", "sh", "-c", "rm -f /run/later /root/later"])?;
        done(world, &["snapshot", "create", "x", "--name", "s"])?;
        let changed = "echo later > /run/later; echo later > /root/later";
        done(world, &["exec", "x", "sh", "-c", changed]).map(drop)
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        goes_on(after)?;
        let there = listed(after.world, "snapshot")?;
        let there: Vec<&str> = there.iter().map(name).collect();
        let marks = ["/run/mark", "/root/mark", "/run/later", "/root/later"];
        let (last, marks, wanted) = match there.as_slice() {
            ["d", "s"] => ("d", &marks[..], "alive\nkept\nlater\nlater\n"),
            ["s"] if after.ended != Ended::Done => ("s", &marks[..2], "alive\nkept\n"),
            _ => return Err(format!("the snapshots are {there:?}")),
        };
        done(after.world, &["start", "y", "--from-snapshot", last, "--detach"])?;
        let found = done(after.world, &[&["exec", "y", "cat"], marks].concat())?;
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{last} has {found:?}"))
        }
    }
}

#[test]
fn a_difference() {
    sweep("snapshot create --diff", &mut Difference::default());
}

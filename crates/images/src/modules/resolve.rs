use std::collections::{BTreeSet, HashMap};

/// Why there is no load order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("the modules depend on each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    #[error("the module {module} is needed by {needed_by} and is neither built in nor among the modules")]
    Missing { module: String, needed_by: String },
    #[error("more than {MAX_DEPTH} modules depend on one another in a row")]
    TooDeep,
}

/// Real chains have less than ten; this keeps a hostile one off the stack.
const MAX_DEPTH: usize = 200;

/// Puts `wanted` and all they depend on in load order: the wanted ones as early as their dependencies allow, in the order
/// given.
///
/// `depends` gives a module's direct or indirect dependencies, or `None` for what is no module. Names in `built_in` need no
/// loading.
///
/// # Errors
/// A circle, or a module that is neither there nor built in.
pub fn load_order<'a>(
    wanted: impl IntoIterator<Item = &'a str>,
    depends: &dyn Fn(&str) -> Option<Vec<String>>,
    built_in: &BTreeSet<String>,
) -> Result<Vec<String>, ResolveError> {
    let mut walk = Walk {
        depends,
        built_in,
        marks: HashMap::new(),
        path: Vec::new(),
        order: Vec::new(),
    };
    for name in wanted {
        walk.visit(name)?;
    }
    Ok(walk.order)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Open,
    Done,
}

struct Walk<'a> {
    depends: &'a dyn Fn(&str) -> Option<Vec<String>>,
    built_in: &'a BTreeSet<String>,
    marks: HashMap<String, Mark>,
    path: Vec<String>,
    order: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str) -> Result<(), ResolveError> {
        if self.built_in.contains(name) {
            return Ok(());
        }
        match self.marks.get(name) {
            Some(Mark::Done) => return Ok(()),
            Some(Mark::Open) => {
                let start = self.path.iter().position(|on_path| on_path == name).unwrap_or(0);
                let mut circle = self.path.split_off(start);
                circle.push(name.to_owned());
                return Err(ResolveError::Cycle(circle));
            }
            None => {}
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(ResolveError::TooDeep);
        }
        let needs = (self.depends)(name).ok_or_else(|| ResolveError::Missing {
            module: name.to_owned(),
            needed_by: self
                .path
                .last()
                .map_or_else(|| "the guest".to_owned(), Clone::clone),
        })?;
        self.marks.insert(name.to_owned(), Mark::Open);
        self.path.push(name.to_owned());
        // modules.dep lists the nearest dependency first and the one to load first last (modules.dep(5)).
        for need in needs.iter().rev() {
            self.visit(need)?;
        }
        self.path.pop();
        self.marks.insert(name.to_owned(), Mark::Done);
        self.order.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Graph = BTreeMap<String, Vec<String>>;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        edges
            .iter()
            .map(|(name, needs)| {
                (
                    (*name).to_owned(),
                    needs.iter().map(|need| (*need).to_owned()).collect(),
                )
            })
            .collect()
    }

    fn order(graph: &Graph, wanted: &[&str], built_in: &[&str]) -> Result<Vec<String>, ResolveError> {
        let built_in = built_in.iter().map(|name| (*name).to_owned()).collect();
        load_order(
            wanted.iter().copied(),
            &|name| graph.get(name).cloned(),
            &built_in,
        )
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let graph = graph(&[
            ("blk", &["virtio", "ring"]),
            ("virtio", &["ring"]),
            ("ring", &[]),
            ("net", &["virtio"]),
        ]);
        assert_eq!(
            order(&graph, &["blk", "net"], &[]).unwrap(),
            ["ring", "virtio", "blk", "net"]
        );
        assert_eq!(order(&graph, &["net"], &["virtio"]).unwrap(), ["net"]);
    }

    #[test]
    fn a_circle_is_named() {
        let graph = graph(&[("top", &["a"]), ("a", &["b"]), ("b", &["a"])]);
        let error = order(&graph, &["top"], &[]).unwrap_err();
        assert_eq!(
            error,
            ResolveError::Cycle(vec!["a".into(), "b".into(), "a".into()])
        );
        assert!(error.to_string().ends_with("a -> b -> a"));
    }

    #[test]
    fn what_is_missing_is_named_with_who_needs_it() {
        let graph = graph(&[("a", &["b"])]);
        let missing = |module: &str, by: &str| ResolveError::Missing {
            module: module.into(),
            needed_by: by.into(),
        };
        assert_eq!(order(&graph, &["a"], &[]), Err(missing("b", "a")));
        assert_eq!(order(&graph, &["z"], &[]), Err(missing("z", "the guest")));
    }

    #[test]
    fn an_endless_chain_is_refused() {
        let depends = |name: &str| Some(vec![format!("{name}x")]);
        assert_eq!(
            load_order(["x"], &depends, &BTreeSet::new()),
            Err(ResolveError::TooDeep)
        );
    }

    proptest! {
        /// Node n depends only on smaller ones, so there is no circle; all edges must be kept by the order.
        #[test]
        fn an_order_keeps_every_edge(
            edges in proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..5), 1..30),
            wanted in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
            built_in in proptest::collection::btree_set(0usize..30, 0..4),
        ) {
            let needs: Vec<Vec<usize>> = edges
                .iter()
                .enumerate()
                .map(|(n, picks)| if n == 0 { vec![] } else { picks.iter().map(|pick| pick.index(n)).collect() })
                .collect();
            let names: Vec<String> = (0..needs.len()).map(|n| n.to_string()).collect();
            let built_in: BTreeSet<String> = built_in.into_iter().map(|n| n.to_string()).collect();
            let depends = |name: &str| {
                let n: usize = name.parse().ok()?;
                Some(needs.get(n)?.iter().map(ToString::to_string).collect())
            };
            let wanted: Vec<&str> = wanted.iter().map(|pick| names[pick.index(names.len())].as_str()).collect();
            let order = load_order(wanted.iter().copied(), &depends, &built_in).unwrap();
            let at = |name: &str| order.iter().position(|other| other == name);
            for name in &wanted {
                prop_assert!(built_in.contains(*name) || at(name).is_some());
            }
            for name in &order {
                prop_assert_eq!(order.iter().filter(|other| *other == name).count(), 1);
                prop_assert!(!built_in.contains(name));
                for need in depends(name).unwrap() {
                    prop_assert!(built_in.contains(&need) || at(&need) < at(name), "{} before {}", need, name);
                }
            }
        }

        /// Any graph, circles and gaps included, ends in an order or an error.
        #[test]
        fn every_graph_comes_to_an_end(
            edges in proptest::collection::vec(proptest::collection::vec(0usize..14, 0..4), 1..12)
        ) {
            let depends = |name: &str| {
                let n: usize = name.parse().ok()?;
                Some(edges.get(n)?.iter().map(ToString::to_string).collect())
            };
            match load_order(["0"], &depends, &BTreeSet::new()) {
                Ok(order) => prop_assert_eq!(order.last().map(String::as_str), Some("0")),
                Err(ResolveError::Cycle(circle)) => {
                    prop_assert!(circle.len() >= 2);
                    prop_assert_eq!(circle.first(), circle.last());
                    for pair in circle.windows(2) {
                        prop_assert!(depends(&pair[0]).unwrap().contains(&pair[1]));
                    }
                }
                Err(ResolveError::Missing { module, .. }) => prop_assert!(depends(&module).is_none()),
                Err(ResolveError::TooDeep) => prop_assert!(false, "12 nodes are not that deep"),
            }
        }
    }
}

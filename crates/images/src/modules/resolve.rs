use std::collections::{BTreeMap, BTreeSet};

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
/// given; what one of them depends on by name, as far as the dependencies leave a choice. So the order is the same whether
/// `depends` gives a module's direct dependencies (as the modules themselves do) or all of them (as `modules.dep` does).
///
/// `depends` gives `None` for what is no module. Names in `built_in` need no loading.
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
        needs: BTreeMap::new(),
        path: Vec::new(),
    };
    let mut loaded = BTreeSet::new();
    let mut order = Vec::new();
    for name in wanted {
        walk.visit(name)?;
        let is_loaded = |name: &String, loaded: &BTreeSet<String>| loaded.contains(name);
        // Without a circle there is always one that is ready, until all are loaded.
        while let Some((ready, _)) = walk.needs.iter().find(|(name, needs)| {
            !is_loaded(name, &loaded) && needs.iter().all(|need| is_loaded(need, &loaded))
        }) {
            loaded.insert(ready.clone());
            order.push(ready.clone());
        }
    }
    Ok(order)
}

struct Walk<'a> {
    depends: &'a dyn Fn(&str) -> Option<Vec<String>>,
    built_in: &'a BTreeSet<String>,
    /// The modules seen to their end, with what they need that is not built in.
    needs: BTreeMap<String, Vec<String>>,
    /// From the wanted one to the one being looked at.
    path: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str) -> Result<(), ResolveError> {
        if self.built_in.contains(name) || self.needs.contains_key(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|on_path| on_path == name) {
            let mut circle = self.path.split_off(start);
            circle.push(name.to_owned());
            return Err(ResolveError::Cycle(circle));
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(ResolveError::TooDeep);
        }
        let mut needs = (self.depends)(name).ok_or_else(|| ResolveError::Missing {
            module: name.to_owned(),
            needed_by: self
                .path
                .last()
                .map_or_else(|| "the guest".to_owned(), Clone::clone),
        })?;
        needs.retain(|need| !self.built_in.contains(need));
        self.path.push(name.to_owned());
        for need in &needs {
            self.visit(need)?;
        }
        self.path.pop();
        self.needs.insert(name.to_owned(), needs);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

        /// As modules.dep has them and as the modules have them.
        #[test]
        fn direct_and_indirect_dependencies_give_one_order(
            edges in proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..4), 1..25),
            wanted in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
        ) {
            let mut direct: Vec<BTreeSet<usize>> = Vec::new();
            let mut all: Vec<BTreeSet<usize>> = Vec::new();
            for (n, picks) in edges.iter().enumerate() {
                let needs: BTreeSet<usize> =
                    if n == 0 { BTreeSet::new() } else { picks.iter().map(|pick| pick.index(n)).collect() };
                all.push(needs.iter().flat_map(|need| all[*need].iter().copied().chain([*need])).collect());
                direct.push(needs);
            }
            let names: Vec<String> = (0..edges.len()).map(|n| n.to_string()).collect();
            let wanted: Vec<&str> = wanted.iter().map(|pick| names[pick.index(names.len())].as_str()).collect();
            let order = |graph: &[BTreeSet<usize>]| {
                let depends = |name: &str| {
                    let n: usize = name.parse().ok()?;
                    Some(graph.get(n)?.iter().map(ToString::to_string).collect())
                };
                load_order(wanted.iter().copied(), &depends, &BTreeSet::new())
            };
            prop_assert_eq!(order(&direct), order(&all));
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

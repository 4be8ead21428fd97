//! Property: going step by step leads to the same state as building it from the final rows.

use std::collections::BTreeMap;

use inventory::{Edit, HostState, Row, RowKey};
use proptest::prelude::*;

use crate::world::{check_whole, edit, host_with, open, opened};

const STATES: [HostState; 4] = [HostState::Running, HostState::Draining, HostState::Stopped, HostState::Terminated];

#[derive(Debug, Clone)]
enum Wish {
    Put { n: u32, state: usize, role: u8, address: u32 },
    Remove { n: u32 },
    Sync { hosts: Vec<u32> },
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => (0..12u32, 0..4usize, 0..4u8, 0..20u32)
            .prop_map(|(n, state, role, address)| Wish::Put { n, state, role, address }),
        2 => (0..12u32).prop_map(|n| Wish::Remove { n }),
        1 => prop::collection::btree_set(100..108u32, 0..8).prop_map(|set| Wish::Sync { hosts: set.into_iter().collect() }),
    ]
}

fn as_edit(wish: &Wish) -> Edit {
    match wish {
        Wish::Put { n, state, role, address } => Edit::Put(host_with(*n, "api", |host| {
            host.state = STATES[*state];
            host.roles = Box::new([format!("role{role}").into()]);
            host.private_ip = [10, 0, 1, *address as u8].into();
        })),
        Wish::Remove { n } => Edit::Remove(crate::world::key(*n)),
        Wish::Sync { hosts } => {
            crate::world::sync("file", hosts.iter().map(|n| host_with(*n, "file:a", |_| {})).collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn steps_equal_the_whole(wishes in prop::collection::vec(prop::collection::vec(wish(), 1..4), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let keeper = open(folder.path());
            let mut model: BTreeMap<RowKey, Row> = BTreeMap::new();
            for wishes in &wishes {
                let edits: Vec<Edit> = wishes.iter().map(as_edit).collect();
                let done = match edit(&keeper, edits.clone()).await {
                    Ok(inventory::Outcome::Held { id, .. }) => keeper.accept(id, crate::world::author("x")).await.is_ok(),
                    other => other.is_ok(),
                };
                if done {
                    for edit in edits {
                        match edit {
                            Edit::Add(row) | Edit::Put(row) | Edit::Replace { new: row, .. } => drop(model.insert(row.key(), row)),
                            Edit::Remove(key) => drop(model.remove(&key)),
                            Edit::Sync { rows, .. } => {
                                model.retain(|_, row| row.source() != "file:a");
                                model.extend(rows.into_iter().map(|row| (row.key(), row)));
                            }
                        }
                    }
                }
                let state = keeper.state();
                check_whole(&state);
                assert_eq!(state.rows().map(|row| (row.key(), row)).collect::<BTreeMap<_, _>>(), model);
            }
            let position = keeper.state().position();
            keeper.close().await;
            assert_eq!(opened(folder.path()).keeper.state().position(), position);
        });
    }
}

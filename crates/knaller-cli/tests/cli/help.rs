//! Help of every command, as it looks at 80 columns.

use crate::support::World;

#[test]
fn every_command_has_help() {
    let world = World::new();
    insta::assert_snapshot!("knaller", world.succeed(&["help"]));
    let mut pending = vec![Vec::new()];
    while let Some(words) = pending.pop() {
        let mut command = &knaller_cli::command();
        for word in &words {
            command = command.find_subcommand(word).unwrap();
        }
        for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let mut words = words.clone();
            words.push(subcommand.get_name().to_owned());
            let mut asked = vec!["help"];
            asked.extend(words.iter().map(String::as_str));
            let help = world.succeed(&asked);
            insta::assert_snapshot!(format!("knaller-{}", words.join("-")), help);
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{words:?}: {line}");
            }
            pending.push(words);
        }
    }
}

#[test]
fn topics() {
    let world = World::new();
    insta::assert_snapshot!(world.succeed(&["help", "exit-codes"]));
    insta::assert_snapshot!(world.succeed(&["help", "environment"]));
    insta::assert_snapshot!(world.run(&["help", "nonsense"]).shown());
}

#[test]
fn the_document_of_exit_codes_is_the_librarys_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/exit-codes.md");
    let document = std::fs::read_to_string(path).unwrap_or_default();
    let made = World::new().succeed(&["help", "exit-codes", "--markdown"]);
    assert_eq!(
        document, made,
        "run `knaller help exit-codes --markdown > docs/exit-codes.md`"
    );
}

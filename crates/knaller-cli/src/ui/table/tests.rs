use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::*;

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

const COLUMNS: [Column; 3] = [
    Column::new("NAME", 0),
    Column::wrapping("PORTS", 1),
    Column::new("AGE", 2),
];

fn rows() -> Vec<Vec<Cell>> {
    vec![
        vec!["web".into(), "8080:80, 8443:443".into(), "3m".into()],
        vec!["a-much-longer-name".into(), "".into(), "2d".into()],
    ]
}

#[test]
fn a_pipe_gets_one_line_a_row() {
    insta::assert_snapshot!(plain(&render(&COLUMNS, rows(), None)), @"
    NAME                PORTS              AGE
    web                 8080:80, 8443:443  3m
    a-much-longer-name                     2d
    ");
}

#[test]
fn the_least_dear_column_goes_first() {
    insta::assert_snapshot!(plain(&render(&COLUMNS, rows(), Some(44))), @"
    NAME                PORTS              AGE
    web                 8080:80, 8443:443  3m
    a-much-longer-name                     2d
    ");
    insta::assert_snapshot!(plain(&render(&COLUMNS, rows(), Some(40))), @"
    NAME                PORTS     AGE
    web                 8080:80,  3m
                        8443:443
    a-much-longer-name            2d
    ");
    insta::assert_snapshot!(plain(&render(&COLUMNS, rows(), Some(20))), @"
    NAME
    web
    a-much-longer-name
    ");
}

#[test]
fn what_is_dear_is_wrapped() {
    insta::assert_snapshot!(plain(&render(&COLUMNS, rows(), Some(12))), @"
    NAME
    web
    a-much-longe
    r-name
    ");
}

#[test]
fn facts_wrap_behind_their_names() {
    let facts = facts(
        vec![
            ("name", "web".into()),
            ("command", "httpd -f -v -p 80 -h /srv/www".into()),
        ],
        Some(30),
    );
    insta::assert_snapshot!(plain(&facts), @"
    name     web
    command  httpd -f -v -p 80
             -h /srv/www
    ");
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(
        rows in prop::collection::vec(prop::collection::vec("\\PC{0,30}", 3), 0..6),
        width in 12u16..100,
    ) {
        let rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| row.into_iter().map(Cell::from).collect()).collect();
        for line in plain(&render(&COLUMNS, rows, Some(width))).lines() {
            prop_assert!(line.width() <= usize::from(width), "{line:?} is wider than {width}");
        }
    }
}

//! Tables that fit.
//!
//! On a terminal a table is never wider than the terminal: first lists in cells are broken at their blanks, then the
//! columns that matter least are left out, at last anything is wrapped. In a pipe there is no width: one row is one
//! line, with all columns.

use comfy_table::{
    Attribute, Cell as TableCell, Color, ColumnConstraint, ContentArrangement, Table as Grid, presets,
};

/// A column's title and how dear it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Columns of the highest rank go first where room is short; those of rank 0 always stay.
    pub(crate) rank: u8,
    /// Its cells may be broken at blanks before any column is left out.
    wraps: bool,
}

impl Column {
    pub(crate) const fn new(title: &'static str, rank: u8) -> Self {
        Self {
            title,
            rank,
            wraps: false,
        }
    }

    pub(crate) const fn wrapping(title: &'static str, rank: u8) -> Self {
        Self {
            title,
            rank,
            wraps: true,
        }
    }
}

/// What a cell's colour stands for. The text says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Strong,
    Good,
    Warning,
    Bad,
    Faint,
}

/// One cell's text.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// The gap between two columns.
const GAP: u16 = 2;

/// `rows` under the titles of `columns`, without a line end behind the last line. `width` is the terminal's.
pub(crate) fn render(columns: &[Column], rows: Vec<Vec<Cell>>, width: Option<u16>) -> String {
    let mut grid = grid(width);
    grid.set_header(
        columns
            .iter()
            .map(|column| styled(&Cell::new(column.title, Tone::Strong))),
    );
    fill(&mut grid, rows);
    if let Some(width) = width {
        drop_columns(&mut grid, columns, width);
    }
    if let Some(last) = grid.column_iter_mut().filter(|column| !column.is_hidden()).last() {
        last.set_padding((0, 0));
    }
    grid.trim_fmt()
}

/// Facts about one thing, a line each: its name, then what it is.
pub(crate) fn facts(facts: Vec<(&'static str, Cell)>, width: Option<u16>) -> String {
    let mut grid = grid(width);
    let rows = facts
        .into_iter()
        .map(|(name, fact)| vec![Cell::new(name, Tone::Strong), fact]);
    fill(&mut grid, rows);
    if let Some(names) = grid.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    grid.trim_fmt()
}

fn grid(width: Option<u16>) -> Grid {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).force_no_tty().enforce_styling();
    grid.style_text_only();
    if let Some(width) = width {
        grid.set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    grid
}

fn fill(grid: &mut Grid, rows: impl IntoIterator<Item = Vec<Cell>>) {
    for row in rows {
        grid.add_row(row.iter().map(styled));
    }
    for column in grid.column_iter_mut() {
        column.set_padding((0, GAP));
    }
}

fn styled(cell: &Cell) -> TableCell {
    let styled = TableCell::new(&cell.text);
    match cell.tone {
        Tone::Plain => styled,
        Tone::Strong => styled.add_attribute(Attribute::Bold),
        Tone::Good => styled.fg(Color::DarkGreen),
        Tone::Warning => styled.fg(Color::DarkYellow),
        Tone::Bad => styled.fg(Color::DarkRed),
        Tone::Faint => styled.add_attribute(Attribute::Dim),
    }
}

/// Hides columns, the least dear and rightmost first, until the rest fits `width` or only dear ones are left.
fn drop_columns(grid: &mut Grid, columns: &[Column], width: u16) {
    let widths: Vec<u32> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| needed(grid, index, column))
        .collect();
    let mut total: u32 = widths.iter().sum();
    let mut order: Vec<usize> = (0..columns.len())
        .filter(|&index| columns[index].rank > 0)
        .collect();
    order.sort_by_key(|&index| std::cmp::Reverse((columns[index].rank, index)));
    for index in order {
        // The last column has no gap.
        if total.saturating_sub(u32::from(GAP)) <= u32::from(width) {
            return;
        }
        total -= widths[index];
        if let Some(column) = grid.column_mut(index) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
}

/// The columns of the terminal that a column needs, its gap included.
fn needed(grid: &Grid, index: usize, column: &Column) -> u32 {
    let whole = grid
        .column_max_content_widths()
        .get(index)
        .copied()
        .unwrap_or_default();
    let width = if column.wraps {
        widest_word(grid, index).max(column.title.len())
    } else {
        usize::from(whole)
    };
    u32::try_from(width).unwrap_or(u32::MAX / 64) + u32::from(GAP)
}

fn widest_word(grid: &Grid, index: usize) -> usize {
    let cells = grid.column_cells_iter(index).flatten();
    cells
        .flat_map(|cell| cell.content().split(' ').map(str::len).collect::<Vec<_>>())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;

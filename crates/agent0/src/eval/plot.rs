//! A comparison of scores as one SVG drawing: a panel for each benchmark, in it a dot with its standard error for each model, and a
//! line where the first model stands. Chooses what is shown; `plotters` draws.

use agent0_eval::{Cell, Table, TableRow};
use anyhow::Result;
use plotters::prelude::*;

use crate::svg::{Canvas, drawn, failed};

const PANELS_ABREAST: usize = 3;
const PANEL_WIDTH: u32 = 300;
/// Height of a panel without its rows, and of a row.
const HEIGHTS: (u32, u32) = (80, 22);
/// What a letter of a model's name takes at the size of labels.
const LETTER_WIDTH: u32 = 6;
const MEASURED: RGBColor = RGBColor(31, 97, 165);
const PUBLISHED: RGBColor = RGBColor(120, 120, 120);

/// Draws a comparison, as SVG.
///
/// # Errors
/// When `plotters` cannot draw it.
pub fn draw(table: &Table) -> Result<String> {
    let longest = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0) as u32;
    let names = LETTER_WIDTH * longest + 10;
    let abreast = table.columns.len().clamp(1, PANELS_ABREAST);
    let deep = table.columns.len().div_ceil(abreast).max(1);
    let height = HEIGHTS.0 + HEIGHTS.1 * table.rows.len() as u32;
    drawn((abreast as u32 * (PANEL_WIDTH + names), deep as u32 * height), |root| {
        let panels = root.split_evenly((deep, abreast));
        panels.iter().zip(&table.columns).enumerate().try_for_each(|(column, (area, title))| {
            let cells: Vec<Option<&Cell>> = table.rows.iter().map(|row| row.cells[column].as_ref()).collect();
            draw_panel(area, title, names, &table.rows, &cells)
        })
    })
}

/// The cells of one column, the first row on top; `names` is the width that the names of the models take.
fn draw_panel(area: &Canvas, title: &str, names: u32, rows: &[TableRow], cells: &[Option<&Cell>]) -> Result<()> {
    let per_cent = |share: f64| 100.0 * share;
    let spread = |cell: &Cell| cell.stderr.unwrap_or(0.0);
    let top = cells.iter().flatten().fold(0.0, |top: f64, cell| top.max(per_cent(cell.score + spread(cell))));
    let top = if top > 0.0 { 1.1 * top } else { 1.0 };
    let last = rows.len() as i32 - 1;
    let name = |y: &i32| usize::try_from(last - y).ok().and_then(|row| rows.get(row)).map_or(String::new(), |row| row.name.clone());
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(names)
        .build_cartesian_2d(0.0..top, -1..last + 1)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc("right, per cent")
        .x_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_labels(rows.len() + 2)
        .y_label_formatter(&name)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    if let Some(Some(first)) = cells.first() {
        let x = per_cent(first.score);
        chart.draw_series(LineSeries::new([(x, -1), (x, last + 1)], BLACK.mix(0.4))).map_err(failed)?;
    }
    for (y, (row, cell)) in (0..=last).rev().zip(rows.iter().zip(cells)) {
        let Some(cell) = cell else { continue };
        let colour = if row.measured { MEASURED } else { PUBLISHED };
        let ends = [-1.0, 1.0].map(|side| (per_cent(cell.score + side * spread(cell)).max(0.0), y));
        chart.draw_series(LineSeries::new(ends, colour.stroke_width(2))).map_err(failed)?;
        chart.draw_series([Circle::new((per_cent(cell.score), y), 4, colour.filled())]).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_drawn_on_every_benchmark_it_was_asked() {
        let cell = |score, stderr| Some(Cell { score, stderr, questions: 10, best: false, delta: None });
        let row = |name: &str, cells| TableRow { name: name.into(), measured: true, cells, caveat: None };
        let table = Table {
            columns: ["GSM8K", "mine", "MATH AVG", "x"].map(String::from).to_vec(),
            rows: vec![
                row("base & none", vec![cell(0.25, Some(0.05)), cell(0.0, Some(0.0)), None, None]),
                row("trained", vec![cell(0.5, Some(0.05)), None, cell(0.4, None), None]),
            ],
        };
        let svg = draw(&table).unwrap();
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(svg.matches("base &amp; none").count(), 4, "each panel names its rows");
        let nothing = Table { columns: Vec::new(), rows: Vec::new() };
        assert!(draw(&nothing).unwrap().starts_with("<svg"));
    }
}

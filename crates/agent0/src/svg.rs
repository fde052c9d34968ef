//! What the drawings of this program share: an SVG canvas of `plotters`, and errors that outlive it.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea, SVGBackend, WHITE};

/// A part of a drawing.
pub type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The SVG text of what `draw` draws on a white canvas of `size` pixels.
///
/// # Errors
/// Those of `draw`.
pub fn drawn(size: (u32, u32), draw: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    draw(&root)?;
    root.present().map_err(failed)?;
    drop(root);
    Ok(text)
}

/// Drawing errors borrow what is drawn on.
pub fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

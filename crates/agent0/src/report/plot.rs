//! The curves of a run as one SVG drawing: what each phase is to achieve, and whether it collapsed on the way. Chooses what is shown;
//! `plotters` draws.

use std::path::Path;

use agent0_evolve::store::Metric;
use agent0_evolve::{Phase, Place};
use anyhow::{Context as _, Result};
use plotters::prelude::*;

use crate::svg::{Canvas, drawn, failed};

const SIZE: (u32, u32) = (1080, 640);
const COLOURS: [RGBColor; 2] = [RGBColor(31, 97, 165), RGBColor(204, 85, 0)];

/// What a panel shows: metrics of one phase, step by step.
struct Panel {
    title: &'static str,
    phase: Phase,
    /// Label and metric.
    curves: &'static [(&'static str, &'static str)],
}

const PANELS: [Panel; 6] = [
    Panel { title: "Curriculum: tasks", phase: Phase::Curriculum, curves: &[("reward", "reward_mean"), ("well-formed", "format_share")] },
    Panel {
        title: "Curriculum: the executor's answers to them",
        phase: Phase::Curriculum,
        curves: &[("self-consistency", "p_hat_mean"), ("tool calls", "tool_calls_mean")],
    },
    Panel { title: "Frontier: share of the tasks kept", phase: Phase::Frontier, curves: &[("kept", "kept_share")] },
    Panel {
        title: "Executor: answers",
        phase: Phase::Executor,
        curves: &[("agree with the label", "reward_mean"), ("answered", "answered_share")],
    },
    Panel { title: "Executor: tool calls an answer", phase: Phase::Executor, curves: &[("tool calls", "tool_calls_mean")] },
    Panel { title: "Executor: KL to the phase's start, nats a token", phase: Phase::Executor, curves: &[("KL", "kl")] },
];

/// Draws the metrics of a run, as its store has them, into `file`.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(name: &str, metrics: &[Metric], file: &Path) -> Result<()> {
    let svg = drawn(SIZE, |root| {
        let root = root.titled(name, ("sans-serif", 20)).map_err(failed)?;
        root.split_evenly((2, 3)).iter().zip(&PANELS).try_for_each(|(area, panel)| draw_panel(area, panel, metrics))
    })?;
    std::fs::write(file, svg).with_context(|| format!("drawing {}", file.display()))
}

fn draw_panel(area: &Canvas, panel: &Panel, metrics: &[Metric]) -> Result<()> {
    let places = places(panel.phase, metrics);
    let curves: Vec<Vec<(f64, f64)>> = panel.curves.iter().map(|(_, metric)| curve(&places, metric, metrics)).collect();
    let top = curves.iter().flatten().fold(0.0, |top: f64, &(_, y)| top.max(y));
    let bottom = curves.iter().flatten().fold(0.0, |bottom: f64, &(_, y)| bottom.min(y));
    let top = if top > bottom { top * 1.1 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(42)
        .build_cartesian_2d(0.5..places.len().max(1) as f64 + 0.5, bottom..top)
        .map_err(failed)?;
    // One decimal more than the length of the axis needs: its marks lie closer than that.
    let decimals = (1.0 - (top - bottom).log10().floor()).clamp(0.0, 4.0) as usize;
    let number = |value: &f64| format!("{value:.decimals$}");
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc(if panel.phase == Phase::Frontier { "iteration" } else { "step" })
        .x_labels(places.len().clamp(2, 10))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&number)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    // Where an iteration begins.
    for x in (1..places.len()).filter(|&i| places[i].iteration != places[i - 1].iteration).map(|i| i as f64 + 0.5) {
        chart.draw_series(LineSeries::new([(x, bottom), (x, top)], BLACK.mix(0.3))).map_err(failed)?;
    }
    for (curve, (colour, (label, _))) in curves.iter().zip(COLOURS.iter().zip(panel.curves)) {
        let line = chart.draw_series(LineSeries::new(curve.iter().copied(), colour.stroke_width(2))).map_err(failed)?;
        line.label(*label).legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
        chart.draw_series(curve.iter().map(|&at| Circle::new(at, 2, colour.filled()))).map_err(failed)?;
    }
    if curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(TRANSPARENT)
            .draw()
            .map_err(failed)?;
    }
    Ok(())
}

/// The finished steps of a phase, in order; of the frontier, whose rounds belong together, one for each iteration.
fn places(phase: Phase, metrics: &[Metric]) -> Vec<Place> {
    let mut places: Vec<Place> = metrics.iter().map(|metric| metric.place).filter(|place| place.phase == phase).collect();
    places.sort();
    places.dedup_by_key(|place| if phase == Phase::Frontier { Place { step: 1, ..*place } } else { *place });
    places
}

/// The points of a metric: the number of a step among `places`, from 1, and its value.
fn curve(places: &[Place], metric: &str, metrics: &[Metric]) -> Vec<(f64, f64)> {
    let value = |place: Place| {
        let sum = |name: &str| {
            let of_iteration =
                |metric: &&Metric| (metric.place.iteration, metric.place.phase) == (place.iteration, place.phase) && metric.name == name;
            metrics.iter().filter(of_iteration).map(|metric| metric.value).sum::<f64>()
        };
        match metric {
            "kept_share" => Some(sum("kept") / sum("generated")),
            _ => metrics.iter().find(|found| found.place == place && found.name == metric).map(|found| found.value),
        }
    };
    (1..).zip(places).filter_map(|(x, &place)| Some((f64::from(x), value(place)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(iteration: usize, phase: Phase, step: usize, name: &str, value: f64) -> Metric {
        Metric { place: Place { iteration, phase, step }, name: name.into(), value, time: 0.0 }
    }

    #[test]
    fn rounds_of_a_frontier_are_one_point() {
        let frontier = |iteration, round, kept, generated| {
            [("kept", kept), ("generated", generated)].map(|(name, value)| metric(iteration, Phase::Frontier, round, name, value))
        };
        let metrics = [frontier(1, 1, 10.0, 50.0), frontier(1, 2, 20.0, 50.0), frontier(2, 1, 5.0, 10.0)].concat();
        let places = places(Phase::Frontier, &metrics);
        assert_eq!(curve(&places, "kept_share", &metrics), [(1.0, 0.3), (2.0, 0.5)]);
    }

    #[test]
    fn steps_are_counted_through_and_gaps_stay_gaps() {
        let of = |iteration, step, name, value| metric(iteration, Phase::Executor, step, name, value);
        let metrics = [of(1, 1, "kl", 0.0), of(1, 2, "kl", 0.1), of(2, 1, "reward_mean", 0.5), of(2, 2, "kl", 0.3)];
        let places = places(Phase::Executor, &metrics);
        assert_eq!(curve(&places, "kl", &metrics), [(1.0, 0.0), (2.0, 0.1), (4.0, 0.3)]);
    }

    #[test]
    fn a_run_that_has_just_begun_is_drawn_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.svg");
        for metrics in [vec![], vec![metric(1, Phase::Curriculum, 1, "reward_mean", -0.2)]] {
            draw("a & b", &metrics, &file).unwrap();
            let svg = std::fs::read_to_string(&file).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("a &amp; b"), "{svg}");
        }
    }
}

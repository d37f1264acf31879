//! Pictures of what was measured, as SVG files beside the table. What they say in colours they say in words too.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

/// Pixels, as an SVG viewer takes them at first.
const WIDTH: u32 = 760;
const HEIGHT: u32 = 360;

/// One line of a timeline.
const LINE: u32 = 16;

/// Told apart by people who see colours otherwise, too (Okabe and Ito's palette), and in grey.
const COLOURS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(230, 159, 0)];
const FONT: &str = "sans-serif";

/// A picture.
pub(super) struct Plot {
    /// Its file's, without the suffix.
    pub(super) name: &'static str,
    pub(super) title: String,
    pub(super) svg: String,
}

/// What was measured for one number after another.
pub(super) struct Curve {
    pub(super) label: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// What happened in the course of one thing.
pub(super) struct Lane {
    pub(super) label: &'static str,
    pub(super) bars: Vec<Bar>,
}

/// From when on something happened, and how long: milliseconds.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) start: f64,
    pub(super) took: f64,
    /// Whose doing it is: one of two.
    pub(super) shade: usize,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Plot {
    /// Curves over one axis, both from zero on; `axes` says what x and y are.
    pub(super) fn curves(name: &'static str, title: &str, axes: [&str; 2], curves: &[Curve]) -> Result<Self> {
        let most = |of: fn(&(f64, f64)) -> f64| {
            let all = curves.iter().flat_map(|curve| &curve.points);
            all.map(of).fold(1.0, f64::max)
        };
        let (x, y) = (most(|point| point.0), most(|point| point.1) * 1.08);
        Self::draw(name, title, HEIGHT, |area| {
            let mut chart = ChartBuilder::on(area)
                .caption(title, (FONT, 16))
                .margin(10)
                .x_label_area_size(36)
                .y_label_area_size(60)
                .build_cartesian_2d(0.0..x, 0.0..y)?;
            let [x, y] = axes;
            chart
                .configure_mesh()
                .x_desc(x)
                .y_desc(y)
                .light_line_style(WHITE)
                .draw()?;
            for (curve, colour) in curves.iter().zip(COLOURS) {
                let points = || curve.points.iter().copied();
                chart
                    .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
                    .label(curve.label)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
                chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE)
                .border_style(BLACK.mix(0.3))
                .draw()?;
            Ok(())
        })
    }

    /// What happened when, a line for each; the lanes one below the other on one axis of time.
    pub(super) fn timeline(name: &'static str, title: &str, lanes: &[Lane]) -> Result<Self> {
        let bars = || lanes.iter().flat_map(|lane| &lane.bars);
        let end = bars().map(|bar| bar.start + bar.took).fold(1.0, f64::max);
        // A line for each lane's name.
        let lines = lanes.len() + bars().count();
        let height = 70 + LINE * u32::try_from(lines)?;
        Self::draw(name, title, height, |area| {
            let mut chart = ChartBuilder::on(area)
                .caption(title, (FONT, 16))
                .margin(10)
                .x_label_area_size(32)
                // The words behind the last bar need room.
                .build_cartesian_2d(0.0..end * 1.3, lines as f64..0.0)?;
            chart
                .configure_mesh()
                .disable_y_mesh()
                .disable_y_axis()
                .light_line_style(WHITE)
                .x_desc("ms")
                .draw()?;
            let mut line = 0.0;
            for lane in lanes {
                chart.draw_series([Text::new(
                    lane.label,
                    (0.0, line + 0.1),
                    (FONT, 13, FontStyle::Bold),
                )])?;
                line += 1.0;
                for Bar {
                    label,
                    start,
                    took,
                    shade,
                } in &lane.bars
                {
                    let corners = [(*start, line + 0.15), (start + took, line + 0.85)];
                    let colour = COLOURS[shade % COLOURS.len()];
                    chart.draw_series([Rectangle::new(corners, colour.filled())])?;
                    let text = format!("{label}  {took:.0}");
                    let at = (start + took + end * 0.008, line + 0.12);
                    chart.draw_series([Text::new(text, at, (FONT, 11))])?;
                    line += 1.0;
                }
            }
            Ok(())
        })
    }

    fn draw(
        name: &'static str,
        title: &str,
        height: u32,
        what: impl FnOnce(&Area<'_>) -> Result<(), DrawingError>,
    ) -> Result<Self> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            let drawn = area
                .fill(&WHITE)
                .and_then(|()| what(&area))
                .and_then(|()| area.present());
            drawn.map_err(|error| anyhow!("cannot draw {name}: {error}"))?;
        }
        Ok(Self {
            name,
            title: title.to_owned(),
            svg,
        })
    }
}

type DrawingError = DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>;

//! Small plots as SVG: bars, and lines over a logarithmic axis. No font and no script from elsewhere.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const LABEL: f64 = 200.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 44.0;
const BAR: f64 = 18.0;
const GAP: f64 = 8.0;
const HEIGHT: f64 = 320.0;
const COLOURS: [&str; 6] = [
    "#1f6feb", "#d1242f", "#8250df", "#1a7f37", "#bc4c00", "#57606a",
];
const OTHER: &str = "#8c959f";

/// A bar: its name, its length, the spread, and whether it is ours.
#[derive(Debug, Clone)]
pub struct Bar {
    /// The name.
    pub label: String,
    /// The length.
    pub value: f64,
    /// The lowest and the highest.
    pub spread: (f64, f64),
    /// Whether it stands out.
    pub ours: bool,
}

/// A line: its name and its points.
#[derive(Debug, Clone)]
pub struct Line {
    /// The name.
    pub label: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// Horizontal bars from nought, with whiskers for the spread.
#[must_use]
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.spread.1.max(bar.value));
    let most = most.fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - LABEL - RIGHT) / most
    } else {
        0.0
    };
    let rows = bars.iter().fold(0.0, |rows, _| rows + BAR + GAP);
    let mut svg = Svg::new(title, TOP + rows + GAP);
    let mut y = TOP;
    for bar in bars {
        let colour = if bar.ours { COLOURS[0] } else { OTHER };
        let middle = y + BAR / 2.0;
        svg.text(LABEL - 8.0, middle + 4.0, "end", &bar.label);
        svg.rectangle(LABEL, y, bar.value * scale, colour);
        let (low, high) = (LABEL + bar.spread.0 * scale, LABEL + bar.spread.1 * scale);
        svg.stroke(&[(low, middle), (high, middle)], "#24292f", 1.0);
        let end = high.max(LABEL + bar.value * scale);
        svg.text(end + 6.0, middle + 4.0, "start", &short(bar.value));
        y += BAR + GAP;
    }
    svg.end()
}

/// How an axis places its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Evenly, from nought.
    Even,
    /// Each step ten times the one before.
    Tenfold,
}

/// Lines over two axes, with a legend below the title.
#[must_use]
pub fn lines(title: &str, axes: (Axis, Axis), names: (&str, &str), lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = Scale::of(axes.0, points().map(|point| point.0), (70.0, WIDTH - 30.0));
    let bottom = HEIGHT - 44.0;
    let y = Scale::of(axes.1, points().map(|point| point.1), (bottom, TOP + 30.0));
    let mut svg = Svg::new(title, HEIGHT);
    svg.text((70.0 + WIDTH) / 2.0, HEIGHT - 8.0, "middle", names.0);
    svg.text(8.0, TOP + 16.0, "start", names.1);
    svg.stroke(
        &[(70.0, TOP + 24.0), (70.0, bottom), (WIDTH - 20.0, bottom)],
        "#24292f",
        1.0,
    );
    for tick in x.ticks() {
        svg.text(x.place(tick), bottom + 18.0, "middle", &short(tick));
    }
    for tick in y.ticks() {
        let place = y.place(tick);
        svg.stroke(&[(70.0, place), (WIDTH - 20.0, place)], "#d0d7de", 0.5);
        svg.text(64.0, place + 4.0, "end", &short(tick));
    }
    let mut legend = 150.0;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let placed = line
            .points
            .iter()
            .map(|(px, py)| (x.place(*px), y.place(*py)));
        let placed: Vec<(f64, f64)> = placed.collect();
        svg.stroke(&placed, colour, 2.0);
        placed.iter().for_each(|point| svg.dot(*point, colour));
        svg.dot((legend, TOP + 12.0), colour);
        svg.text(legend + 8.0, TOP + 16.0, "start", &line.label);
        legend += 28.0 + line.label.chars().fold(0.0, |width, _| width + 6.6);
    }
    svg.end()
}

/// From values to places.
struct Scale {
    axis: Axis,
    from: f64,
    to: f64,
    place: (f64, f64),
}

impl Scale {
    fn of(axis: Axis, values: impl Iterator<Item = f64>, place: (f64, f64)) -> Self {
        let usable = values.filter(|value| value.is_finite());
        let (from, to) = match axis {
            Axis::Even => (0.0, usable.fold(0.0, f64::max) * 1.05),
            Axis::Tenfold => {
                let positive: Vec<f64> = usable.filter(|value| *value > 0.0).collect();
                let least = positive.iter().copied().fold(f64::INFINITY, f64::min);
                let most = positive.iter().copied().fold(0.0, f64::max);
                let whole = |value: f64, round: fn(f64) -> f64| {
                    if value.is_finite() && value > 0.0 {
                        round(value.log10())
                    } else {
                        0.0
                    }
                };
                (whole(least, f64::floor), whole(most, f64::ceil))
            }
        };
        let to = if to > from { to } else { from + 1.0 };
        Self {
            axis,
            from,
            to,
            place,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = match self.axis {
            Axis::Even => value,
            Axis::Tenfold => value.max(f64::MIN_POSITIVE).log10().max(self.from),
        };
        let part = (value - self.from) / (self.to - self.from);
        self.place.0 + part * (self.place.1 - self.place.0)
    }

    fn ticks(&self) -> Vec<f64> {
        let step = match self.axis {
            Axis::Even => nice((self.to - self.from) / 4.0),
            Axis::Tenfold => 1.0,
        };
        let mut ticks = Vec::new();
        let mut at = self.from;
        while at <= self.to {
            ticks.push(match self.axis {
                Axis::Even => at,
                Axis::Tenfold => 10_f64.powf(at),
            });
            at += step;
        }
        ticks
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps.into_iter().find(|nice| *nice >= step).unwrap_or(step)
}

/// A figure in a few characters.
fn short(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1_000.0)
    } else if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// A document that grows; writing to a string never fails.
struct Svg(String);

impl Svg {
    fn new(title: &str, height: f64) -> Self {
        let mut svg = Self(String::new());
        let title = escaped(title);
        svg.add(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#24292f\">\n<title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n<text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>"
        ));
        svg
    }

    fn add(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escaped(text);
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn rectangle(&mut self, x: f64, y: f64, width: f64, colour: &str) {
        self.add(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
        ));
    }

    fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        self.add(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
        ));
    }

    fn stroke(&mut self, points: &[(f64, f64)], colour: &str, width: f64) {
        let mut path = String::new();
        for (x, y) in points {
            let _written = write!(path, "{x:.1},{y:.1} ");
        }
        self.add(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            path.trim_end()
        ));
    }

    fn end(mut self) -> String {
        self.add("</svg>");
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64) -> Bar {
        Bar {
            label: label.to_owned(),
            value,
            spread: (value * 0.9, value * 1.1),
            ours: label == "ours",
        }
    }

    /// Every tag is closed, and no number is none.
    fn well_formed(svg: &str) {
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<svg").count(), 1);
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!svg.contains("href") && !svg.contains("@import"));
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_names_are_escaped() {
        let svg = bars("A & B", &[bar("ours", 50.0), bar("<them>", 100.0)]);
        well_formed(&svg);
        assert!(svg.contains("A &amp; B") && svg.contains("&lt;them&gt;"));
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("height=\"18\""))
            .map(|line| {
                line.split("width=\"")
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
            })
            .map(|width| width.parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[1] / widths[0] - 2.0).abs() < 0.01, "{widths:?}");
    }

    #[test]
    fn lines_go_up_where_values_do() {
        let line = Line {
            label: "p50".to_owned(),
            points: vec![(25.0, 100.0), (50.0, 1_000.0), (90.0, 10_000.0)],
        };
        let svg = lines(
            "Latency",
            (Axis::Even, Axis::Tenfold),
            ("load", "us"),
            &[line],
        );
        well_formed(&svg);
        let points = svg.lines().find(|line| line.contains("stroke-width=\"2\""));
        let points = points.unwrap().split("points=\"").nth(1).unwrap();
        let heights: Vec<f64> = points
            .split('"')
            .next()
            .unwrap()
            .split(' ')
            .map(|point| point.split(',').nth(1).unwrap().parse().unwrap())
            .collect();
        assert!(
            heights.windows(2).all(|pair| pair[1] < pair[0]),
            "{heights:?}"
        );
        let steps: Vec<f64> = heights.windows(2).map(|pair| pair[0] - pair[1]).collect();
        assert!((steps[0] - steps[1]).abs() < 0.2, "{steps:?}");
    }

    #[test]
    fn plots_of_nothing_and_of_nought_are_still_plots() {
        well_formed(&bars("nothing", &[]));
        well_formed(&bars("nought", &[bar("ours", 0.0)]));
        let line = |points| Line {
            label: "x".to_owned(),
            points,
        };
        for points in [vec![], vec![(0.0, 0.0)], vec![(1.0, f64::NAN), (10.0, 5.0)]] {
            let points: Vec<(f64, f64)> = points;
            let drawn: Vec<(f64, f64)> =
                points.into_iter().filter(|its| its.1.is_finite()).collect();
            for axes in [(Axis::Even, Axis::Tenfold), (Axis::Tenfold, Axis::Even)] {
                well_formed(&lines("few", axes, ("x", "y"), &[line(drawn.clone())]));
            }
        }
    }

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (1.25, "1.2"),
            (93.0, "93"),
            (1104.4, "1104"),
            (100_000.0, "100k"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}

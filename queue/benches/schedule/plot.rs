//! Lines in an SVG file: axes with round numbers, a legend.

use std::fmt::Write;

use crate::sim::scenario::Plot;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 88.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 78.0;
const BOTTOM: f64 = 48.0;
/// One line of a plot.
pub(crate) struct Line<'a> {
    pub(crate) name: &'static str,
    pub(crate) colour: &'static str,
    pub(crate) points: &'a [(f64, f64)],
    pub(crate) dashed: bool,
}

/// From where to where an axis goes, with the numbers written at it.
struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
    logarithmic: bool,
}

impl Axis {
    /// From 0 to a round number.
    fn linear(highest: f64) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let power = 10_f64.powf((highest / 5.0).log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| highest / step <= 6.0).unwrap_or(10.0 * power);
        let count = (highest / step).ceil() as u32;
        let ticks = (0..=count).map(|nth| f64::from(nth) * step).collect();
        Self { from: 0.0, to: f64::from(count) * step, ticks, logarithmic: false }
    }

    /// Whole powers of ten.
    fn logarithmic(lowest: f64, highest: f64) -> Self {
        let from = lowest.log10().floor() as i32;
        let to = (highest.log10().ceil() as i32).max(from + 1);
        let ticks: Vec<f64> = (from..=to).map(|power| 10_f64.powi(power)).collect();
        Self { from: 10_f64.powi(from), to: 10_f64.powi(to), ticks, logarithmic: true }
    }

    /// Where a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value.max(self.from) / self.from).log10() / (self.to / self.from).log10()
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }
}

/// Draws the lines.
pub(crate) fn svg(plot: Plot, about: &str, lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let highest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let x = Axis::linear(highest(&mut points().map(|(x, _)| x)));
    let top = highest(&mut points().map(|(_, y)| y));
    let lowest = points().map(|(_, y)| y).filter(|y| *y > 0.0).fold(f64::INFINITY, f64::min);
    let y = if plot.logarithmic && lowest.is_finite() {
        Axis::logarithmic(lowest, top)
    } else {
        Axis::linear(top)
    };
    let mut svg = String::new();
    head(&mut svg, plot.title, about);
    grid(&mut svg, &x, &y);
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", plot.x);
    let (middle, label) = ((TOP + HEIGHT - BOTTOM) / 2.0, escape(plot.y));
    let turned = format!("transform=\"rotate(-90 16 {middle})\" text-anchor=\"middle\"");
    writeln!(svg, "<text x=\"16\" y=\"{middle}\" {turned}>{label}</text>").unwrap();
    let mut at = LEFT;
    // The first lies on top.
    for line in lines.iter().rev() {
        curve(&mut svg, line, &x, &y);
    }
    for line in lines {
        at = legend(&mut svg, line, at);
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn head(svg: &mut String, title: &str, about: &str) {
    let (title, about) = (escape(title), escape(about));
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>{title}</title>\n<desc>{about}</desc>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <g font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#333333\">\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"16\" font-weight=\"600\">{title}</text>\n"
    )
    .unwrap();
}

fn grid(svg: &mut String, x: &Axis, y: &Axis) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in &y.ticks {
        let at = bottom - y.place(*tick) * (bottom - TOP);
        let line = format!("x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"");
        writeln!(svg, "<line {line} stroke=\"#dddddd\"/>").unwrap();
        text(svg, LEFT - 8.0, at + 4.0, "end", &number(*tick));
    }
    for tick in &x.ticks {
        let at = LEFT + x.place(*tick) * (right - LEFT);
        text(svg, at, bottom + 18.0, "middle", &number(*tick));
    }
    let line = format!("x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"");
    writeln!(svg, "<line {line} stroke=\"#333333\"/>").unwrap();
}

fn curve(svg: &mut String, line: &Line<'_>, x: &Axis, y: &Axis) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let place = |(at, value): &(f64, f64)| {
        let x = LEFT + x.place(*at) * (right - LEFT);
        let y = bottom - y.place(*value) * (bottom - TOP);
        format!("{x:.1},{y:.1}")
    };
    let points: Vec<String> = line.points.iter().map(place).collect();
    let dashes = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let style = format!("fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{dashes}", line.colour);
    writeln!(svg, "<polyline {style} points=\"{}\"/>", points.join(" ")).unwrap();
}

/// Names a line; where the next name goes.
fn legend(svg: &mut String, line: &Line<'_>, at: f64) -> f64 {
    let dashes = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let to = at + 22.0;
    let stroke = format!("stroke=\"{}\" stroke-width=\"3\"{dashes}", line.colour);
    writeln!(svg, "<line x1=\"{at}\" x2=\"{to}\" y1=\"48\" y2=\"48\" {stroke}/>").unwrap();
    text(svg, to + 6.0, 52.0, "start", line.name);
    to + 26.0 + 6.4 * line.name.len() as f64
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = escape(words);
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>")
        .unwrap();
}

/// A number with its thousands apart.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}").trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut apart = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth) % 3 == 0 {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

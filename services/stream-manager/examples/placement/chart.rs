//! Line charts as SVG, one below the other, on light and on dark ground.

use std::fmt::Write as _;

const WIDTH: f64 = 920.0;
const PANEL_HEIGHT: f64 = 300.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 52.0;
const LEGEND: f64 = 44.0;

/// One of the things that are compared; the same in all panels.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// Class of the line: has its colour, its width and its dashes.
    pub(crate) class: &'static str,
}

/// A chart.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    pub(crate) is_log: bool,
    pub(crate) x_ticks: Vec<f64>,
    pub(crate) y_ticks: Vec<f64>,
    /// In the order of the series.
    pub(crate) lines: Vec<Vec<(f64, f64)>>,
}

impl Panel {
    fn x_of(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, y: f64) -> f64 {
        let of = |y: f64| if self.is_log { y.ln() } else { y };
        let (bottom, top) = (of(self.y.0), of(self.y.1));
        let share = (of(y.clamp(self.y.0, self.y.1)) - bottom) / (top - bottom);
        TOP + (1.0 - share) * (PANEL_HEIGHT - TOP - BOTTOM)
    }

    fn write(&self, out: &mut String, series: &[Series]) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM);
        writeln!(out, r#"<text class="title" x="{LEFT}" y="28">{}</text>"#, self.title)?;
        for tick in &self.y_ticks {
            let y = self.y_of(*tick);
            writeln!(out, r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#)?;
            writeln!(out, r#"<text class="end" x="{:.1}" y="{:.1}">{tick}</text>"#, LEFT - 8.0, y + 4.0)?;
        }
        for tick in &self.x_ticks {
            let x = self.x_of(*tick);
            writeln!(
                out,
                r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{bottom}" y2="{}"/>"#,
                bottom + 5.0
            )?;
            writeln!(out, r#"<text class="middle" x="{x:.1}" y="{}">{tick}</text>"#, bottom + 20.0)?;
        }
        writeln!(out, r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>"#)?;
        let middle = (LEFT + right) / 2.0;
        writeln!(out, r#"<text class="middle" x="{middle}" y="{}">{}</text>"#, bottom + 40.0, self.x_label)?;
        let middle = (TOP + bottom) / 2.0;
        writeln!(
            out,
            r#"<text class="middle" transform="translate(18 {middle}) rotate(-90)">{}</text>"#,
            self.y_label
        )?;
        // The first series last, so that it lies on top.
        for (series, line) in series.iter().zip(&self.lines).rev() {
            let mut path = String::new();
            for (number, (x, y)) in line.iter().enumerate() {
                let step = if number == 0 { 'M' } else { 'L' };
                write!(path, "{step}{:.1} {:.1}", self.x_of(*x), self.y_of(*y))?;
            }
            writeln!(out, r#"<path class="line {}" d="{path}"/>"#, series.class)?;
        }
        Ok(())
    }
}

/// All panels, and what their lines stand for.
pub(crate) fn svg(series: &[Series], panels: &[Panel]) -> Result<String, std::fmt::Error> {
    let height = LEGEND + PANEL_HEIGHT * panels.len() as f64;
    let mut out = String::new();
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="Placement strategies in the same simulation">"#
    )?;
    out.push_str(STYLE);
    writeln!(out, r#"<rect class="ground" width="{WIDTH}" height="{height}"/>"#)?;
    let mut x = LEFT;
    for one in series {
        writeln!(out, r#"<line class="line {}" x1="{x}" x2="{}" y1="26" y2="26"/>"#, one.class, x + 30.0)?;
        writeln!(out, r#"<text x="{}" y="30">{}</text>"#, x + 37.0, one.name)?;
        x += 37.0 + 6.7 * one.name.len() as f64 + 20.0;
    }
    for (number, panel) in panels.iter().enumerate() {
        writeln!(out, r#"<g transform="translate(0 {})">"#, LEGEND + PANEL_HEIGHT * number as f64)?;
        panel.write(&mut out, series)?;
        writeln!(out, "</g>")?;
    }
    writeln!(out, "</svg>")?;
    Ok(out)
}

/// Colours that those who see few of them tell apart; dashes for all others.
const STYLE: &str = "<style>
.ground { fill: #ffffff }
text { font: 13px system-ui, sans-serif; fill: #3a3f47 }
.title { font-size: 15px; font-weight: 600; fill: #16191d }
.middle { text-anchor: middle }
.end { text-anchor: end }
.grid { stroke: #e3e6ea }
.axis { stroke: #8a929c }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
.ours { stroke: #0072b2; stroke-width: 3.2 }
.two-choice { stroke: #009e73; stroke-dasharray: 8 3 }
.random { stroke: #8a6d00; stroke-dasharray: 2 3 }
.shuffle { stroke: #b2488a; stroke-dasharray: 10 3 2 3 }
.least-loaded { stroke: #c44e00 }
@media (prefers-color-scheme: dark) {
.ground { fill: #14171b }
text { fill: #b9c0c9 }
.title { fill: #f0f3f6 }
.grid { stroke: #2b3138 }
.axis { stroke: #77808b }
.ours { stroke: #56b4e9 }
.two-choice { stroke: #2fcf9f }
.random { stroke: #e0b93a }
.shuffle { stroke: #e58cc0 }
.least-loaded { stroke: #ff8a4a }
}
</style>
";

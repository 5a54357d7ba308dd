//! The comparison as a picture: a panel of bars per figure, in SVG.

use std::fmt::Write;

use crate::compare::server::Server;
use crate::compare::summary::{Compared, Summary};

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
const COLUMNS: usize = 2;
const GAP: f64 = 36.0;
const TITLE_HEIGHT: f64 = 58.0;
const PANEL_HEAD: f64 = 42.0;
const BAR_HEIGHT: f64 = 15.0;
const BAR_STEP: f64 = 23.0;
const NAME_WIDTH: f64 = 150.0;
/// Kept free for the number after the longest bar.
const VALUE_WIDTH: f64 = 84.0;

/// Colours that hold on light and on dark.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}
.title{font-size:17px;font-weight:600}.head{font-weight:600;font-size:13px}.note{fill:#59636e}
.bar{fill:#b6c2cf}.ours{fill:#1f7a5c}.floor{fill:#8c959f}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.bar{fill:#4a5561}.ours{fill:#3fb68b}.floor{fill:#6e7781}}";

/// Draws every figure. `note` says when and where it was measured.
pub(crate) fn svg(summary: &Summary, note: &str) -> String {
    let figures = summary.figures();
    let servers = figures.iter().map(|compared| compared.values.len()).max().unwrap_or_default();
    let panel_height = PANEL_HEAD + servers as f64 * BAR_STEP + 18.0;
    let panel_width = (WIDTH - 2.0 * MARGIN - GAP) / COLUMNS as f64;
    let rows = figures.len().div_ceil(COLUMNS);
    let height = MARGIN + TITLE_HEIGHT + rows as f64 * panel_height + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Relaycast compared with other servers\"><style>{STYLE}</style>\n"
    );
    text(&mut svg, MARGIN, MARGIN + 14.0, "title", "The same load on one core, one server after the other");
    text(&mut svg, MARGIN, MARGIN + 34.0, "note", note);
    for (index, Compared { profile, figure, values }) in figures.iter().enumerate() {
        let x = MARGIN + (index % COLUMNS) as f64 * (panel_width + GAP);
        let y = MARGIN + TITLE_HEIGHT + (index / COLUMNS) as f64 * panel_height;
        text(&mut svg, x, y + 12.0, "head", profile.title());
        let better = if figure.is_more_better() { "more is better" } else { "less is better" };
        text(&mut svg, x, y + 28.0, "note", &format!("{}, {better}", figure.name()));
        let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let room = panel_width - NAME_WIDTH - VALUE_WIDTH;
        for (row, (server, value)) in values.iter().enumerate() {
            let top = y + PANEL_HEAD + row as f64 * BAR_STEP;
            let width = if most > 0.0 { (value / most * room).max(1.0) } else { 1.0 };
            let class = match server {
                Server::Relaycast => "ours",
                Server::Ceiling => "floor",
                _ => "bar",
            };
            text(&mut svg, x, top + 12.0, "", &server.to_string());
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>",
                x + NAME_WIDTH
            );
            text(&mut svg, x + NAME_WIDTH + width + 6.0, top + 12.0, "", &figure.text(*value));
        }
    }
    svg + "</svg>\n"
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Profile;
    use crate::report::Outcome;

    #[test]
    fn every_figure_has_a_bar_per_server_and_its_text_is_escaped() {
        let mut summary = Summary::default();
        for server in Server::ALL {
            summary.add(Profile::Small, server, Outcome::delivered(100, 1.0));
        }
        let svg = svg(&summary, "a < b & c");
        assert_eq!(svg.matches("<rect").count(), Server::ALL.len());
        assert_eq!(svg.matches("class=\"ours\"").count(), 1);
        assert!(svg.contains("a &lt; b &amp; c"));
    }
}

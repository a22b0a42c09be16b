//! LOLWUT's drawing: a gyre, that is a spiral with two arms, turned by chance.

/// The size that is drawn when the client asks for none.
pub const COLUMNS: usize = 60;
pub const ROWS: usize = 22;
/// Columns and rows beyond this are not drawn.
pub const SIDE_MAX: usize = 200;
/// A full turn has so many positions.
pub const TURNS: usize = 360;

/// From where the arms are thin to where they are thick.
const SHADES: [char; 6] = [' ', '.', ':', 'o', 'O', '@'];
/// A character is about twice as high as it is wide.
const ASPECT: f64 = 2.0;
/// How many times an arm goes round.
const WINDINGS: f64 = 1.5;

/// The lines of the drawing, each with its line end.
pub fn draw(columns: usize, rows: usize, turn: usize) -> String {
    let (middle_x, middle_y) = ((columns as f64 - 1.0) / 2.0, (rows as f64 - 1.0) / 2.0);
    let reach = middle_y.min(middle_x / ASPECT).max(1.0);
    let phase = turn as f64 / TURNS as f64 * std::f64::consts::TAU;
    let mut art = String::with_capacity((columns + 1) * rows);
    for row in 0..rows {
        for column in 0..columns {
            let (x, y) = ((column as f64 - middle_x) / ASPECT, row as f64 - middle_y);
            let distance = x.hypot(y) / reach;
            let angle = y.atan2(x) - phase;
            // Two arms: the wave has two crests in a turn, which wind with the distance.
            let crest = (2.0 * (angle - distance * WINDINGS * std::f64::consts::TAU)).cos();
            let strength = if distance > 1.0 { 0.0 } else { (crest + 1.0) / 2.0 * (1.0 - 0.6 * distance) };
            art.push(SHADES[(strength * SHADES.len() as f64) as usize % SHADES.len()]);
        }
        art.truncate(art.trim_end_matches(' ').len());
        art.push('\n');
    }
    art
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_has_the_size_asked_for_whatever_the_turn() {
        for (columns, rows) in [(1, 1), (COLUMNS, ROWS), (SIDE_MAX, 3)] {
            for turn in [0, 17, TURNS - 1] {
                let art = draw(columns, rows, turn);
                assert_eq!(art.lines().count(), rows);
                assert!(art.lines().all(|line| line.len() <= columns));
            }
        }
        assert!(draw(COLUMNS, ROWS, 0) != draw(COLUMNS, ROWS, 90));
    }
}

//! Distances on the globe, and the circles and boxes that searches look into.
//!
//! The arithmetic is Redis's, operation by operation: clients compare distances digit for digit.

use super::hash::{Area, Cell, Point, STEP_MAX};

/// Mean radius of WGS 84, metres.
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half the circumference of the map, metres.
const MERCATOR_MAX: f64 = 20_037_726.37;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

/// Along a meridian, metres.
fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS * (radians(b) - radians(a)).abs()
}

/// The length of the great circle between two points (haversine formula), metres.
pub(super) fn distance(a: Point, b: Point) -> f64 {
    let v = ((radians(b.longitude) - radians(a.longitude)) / 2.0).sin();
    if v == 0.0 {
        return latitude_distance(a.latitude, b.latitude);
    }
    let (latitude_a, latitude_b) = (radians(a.latitude), radians(b.latitude));
    let u = ((latitude_b - latitude_a) / 2.0).sin();
    let square = u * u + latitude_a.cos() * latitude_b.cos() * v * v;
    2.0 * EARTH_RADIUS * square.sqrt().asin()
}

/// What is searched, around a point. Lengths in the client's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Extent {
    Radius(f64),
    Box { width: f64, height: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub center: Point,
    pub extent: Extent,
    /// Metres in the client's unit.
    pub unit: f64,
}

impl Shape {
    /// The distance of a point from the centre, metres, if it is inside.
    pub(super) fn distance_inside(&self, point: Point) -> Option<f64> {
        match self.extent {
            Extent::Radius(radius) => {
                let distance = distance(self.center, point);
                (distance <= radius * self.unit).then_some(distance)
            }
            Extent::Box { width, height } => {
                if latitude_distance(point.latitude, self.center.latitude) > height * self.unit / 2.0 {
                    return None;
                }
                let across = distance(point, Point { latitude: point.latitude, ..self.center });
                (across <= width * self.unit / 2.0).then(|| distance(self.center, point))
            }
        }
    }

    /// The edges of the map between which it lies. The side nearer to the pole is the wider one in degrees, and Redis takes
    /// that of the north for the northern hemisphere, the other for the southern.
    fn bounds(&self) -> Area {
        let (half_width, half_height) = match self.extent {
            Extent::Radius(radius) => (self.unit * radius, self.unit * radius),
            Extent::Box { width, height } => (self.unit * (width / 2.0), self.unit * (height / 2.0)),
        };
        let Point { longitude, latitude } = self.center;
        let latitude_delta = degrees(half_height / EARTH_RADIUS);
        let wide = if latitude < 0.0 { latitude - latitude_delta } else { latitude + latitude_delta };
        let longitude_delta = degrees(half_width / EARTH_RADIUS / radians(wide).cos());
        Area {
            longitude_min: longitude - longitude_delta,
            longitude_max: longitude + longitude_delta,
            latitude_min: latitude - latitude_delta,
            latitude_max: latitude + latitude_delta,
        }
    }

    /// The cells that cover it: that of the centre, and those of its eight neighbours that are needed, in the order in which
    /// Redis looks into them. None is there twice in a row.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut step = self.step();
        let mut cell = Cell::of(self.center, step);
        if step > 1 && !neighbors_reach(cell, &bounds) {
            step -= 1;
            cell = Cell::of(self.center, step);
        }
        let area = cell.area();
        // With larger cells, all of them are needed.
        let prunes = step >= 2;
        let is_needed = |(east, north): (i32, i32)| {
            !(prunes
                && ((north < 0 && area.latitude_min < bounds.latitude_min)
                    || (north > 0 && area.latitude_max > bounds.latitude_max)
                    || (east < 0 && area.longitude_min < bounds.longitude_min)
                    || (east > 0 && area.longitude_max > bounds.longitude_max)))
        };
        const ORDER: [(i32, i32); 8] = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut cells = vec![cell];
        for (east, north) in ORDER.into_iter().filter(|direction| is_needed(*direction)) {
            let neighbor = cell.neighbor(east, north);
            // On large scales neighbours may be the same. That one may be the centre's own, and that those that are the same
            // may not follow each other, Redis does not mind.
            if cells.len() == 1 || cells.last() != Some(&neighbor) {
                cells.push(neighbor);
            }
        }
        cells
    }

    /// Bits per coordinate of cells about as large as the shape.
    fn step(&self) -> u32 {
        let radius = match self.extent {
            Extent::Radius(radius) => radius,
            Extent::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        let mut range = radius * self.unit;
        if range == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1;
        while range < MERCATOR_MAX {
            range *= 2.0;
            step += 1;
        }
        // So that it is covered in most cases.
        step -= 2;
        // Towards the poles meridians are nearer to each other.
        let latitude = self.center.latitude.abs();
        if latitude > 66.0 {
            step -= 1;
            if latitude > 80.0 {
                step -= 1;
            }
        }
        step.clamp(1, STEP_MAX as i32) as u32
    }
}

/// Whether a cell and its neighbours cover the bounds.
fn neighbors_reach(cell: Cell, bounds: &Area) -> bool {
    cell.neighbor(0, 1).area().latitude_max >= bounds.latitude_max
        && cell.neighbor(0, -1).area().latitude_min <= bounds.latitude_min
        && cell.neighbor(1, 0).area().longitude_max >= bounds.longitude_max
        && cell.neighbor(-1, 0).area().longitude_min <= bounds.longitude_min
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_redis() {
        let palermo = Cell::of(Point { longitude: 13.361389, latitude: 38.115556 }, STEP_MAX).center();
        let catania = Cell::of(Point { longitude: 15.087269, latitude: 37.502669 }, STEP_MAX).center();
        assert_eq!(format!("{:.4}", distance(palermo, catania)), "166274.1516");
        assert_eq!(distance(palermo, palermo), 0.0);
    }

    #[test]
    fn cells_cover_what_is_inside() {
        // A small generator is enough: the test is about geometry, not about luck.
        let mut state = 1u64;
        let mut unit = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        for _ in 0..2_000 {
            let center = Point { longitude: unit() * 340.0 - 170.0, latitude: unit() * 140.0 - 70.0 };
            let radius = 10f64.powf(unit() * 5.0);
            let shape = Shape { center, extent: Extent::Radius(radius), unit: 1.0 };
            let cells = shape.cells();
            for _ in 0..50 {
                let near = radius / 100_000.0;
                let point = Point {
                    longitude: center.longitude + (unit() - 0.5) * 2.0 * near,
                    latitude: center.latitude + (unit() - 0.5) * 2.0 * near,
                };
                let score = Cell::of(point, STEP_MAX).bits as f64;
                let is_covered = cells.iter().any(|cell| {
                    let (min, max) = cell.scores();
                    (min..max).contains(&score)
                });
                assert!(is_covered || shape.distance_inside(point).is_none(), "{point:?} in {shape:?}");
            }
        }
    }
}

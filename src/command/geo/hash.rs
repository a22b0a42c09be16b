//! Places as numbers: longitude and latitude in turn, bit by bit, so that places near each other have long common prefixes.
//!
//! A [`Cell`] of `step` bits per coordinate is a box; the score of a place is its cell of 26 bits per coordinate, 52 in all, which a
//! double holds exactly. All places of a cell are then one interval of scores. The scheme is geohash's (Gustavo Niemeyer,
//! 2008), on the latitudes that a square Mercator map shows; the arithmetic is Redis's, operation by operation, since every bit of a
//! score shows.

/// Bits per coordinate of a score.
pub(super) const STEP_MAX: u32 = 26;

pub(super) const LONGITUDE_MAX: f64 = 180.0;
/// Where the map of EPSG:3857 ends.
pub(super) const LATITUDE_MAX: f64 = 85.051_128_78;
/// Characters of a standard geohash, which has 90 degrees of latitude.
const TEXT_LATITUDE_MAX: f64 = 90.0;
const TEXT_LEN: usize = 11;
const TEXT_ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

/// A box of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub bits: u64,
    /// Bits per coordinate.
    pub step: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub longitude_min: f64,
    pub longitude_max: f64,
    pub latitude_min: f64,
    pub latitude_max: f64,
}

const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;
const LONGITUDE_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// Spreads the bits of a number to the even places.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & LATITUDE_BITS
}

/// The inverse, for the even places of `bits`.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & LATITUDE_BITS;
    bits = (bits | bits >> 1) & 0x3333_3333_3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits >> 8) & 0x0000_ffff_0000_ffff;
    (bits | bits >> 16) as u32
}

fn encode(point: Point, longitude_max: f64, latitude_max: f64, step: u32) -> Cell {
    let scale = (1u64 << step) as f64;
    let latitude = (point.latitude + latitude_max) / (latitude_max + latitude_max) * scale;
    let longitude = (point.longitude + longitude_max) / (longitude_max + longitude_max) * scale;
    Cell { bits: spread(latitude as u32) | spread(longitude as u32) << 1, step }
}

impl Cell {
    /// The cell of a point on the map.
    pub(super) fn of(point: Point, step: u32) -> Cell {
        encode(point, LONGITUDE_MAX, LATITUDE_MAX, step)
    }

    /// The cell that a score is.
    pub(super) fn of_score(score: f64) -> Cell {
        Cell { bits: score as u64, step: STEP_MAX }
    }

    /// The scores in it: from the first number up to, but not with, the second.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }

    pub(super) fn area(self) -> Area {
        let edge =
            |index: u32, max: f64| -max + (f64::from(index) / (1u64 << self.step) as f64) * (max + max);
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        Area {
            latitude_min: edge(latitude, LATITUDE_MAX),
            latitude_max: edge(latitude.wrapping_add(1), LATITUDE_MAX),
            longitude_min: edge(longitude, LONGITUDE_MAX),
            longitude_max: edge(longitude.wrapping_add(1), LONGITUDE_MAX),
        }
    }

    /// The middle of it.
    pub(super) fn center(self) -> Point {
        let area = self.area();
        let longitude = (area.longitude_min + area.longitude_max) / 2.0;
        let latitude = (area.latitude_min + area.latitude_max) / 2.0;
        Point {
            longitude: longitude.clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: latitude.clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// The cell so many cells to the east (at most one, either way) and to the north, around the edges of the map.
    pub(super) fn neighbor(self, east: i32, north: i32) -> Cell {
        let longitude = moved(self.bits & LONGITUDE_BITS, LATITUDE_BITS, LONGITUDE_BITS, east, self.step);
        let latitude = moved(self.bits & LATITUDE_BITS, LONGITUDE_BITS, LATITUDE_BITS, north, self.step);
        Cell { bits: longitude | latitude, step: self.step }
    }
}

/// Adds `by` to the coordinate in the bits of `own`, carrying over the bits of `other` between them.
fn moved(coordinate: u64, other: u64, own: u64, by: i32, step: u32) -> u64 {
    let unused = 64 - 2 * step;
    let filler = other >> unused;
    let sum = match by {
        0 => return coordinate,
        1.. => coordinate.wrapping_add(filler + 1),
        _ => (coordinate | filler).wrapping_sub(filler + 1),
    };
    sum & own >> unused
}

/// The standard geohash of a place, 11 characters. Those are 55 bits: the last are zero.
pub(super) fn text(point: Point) -> [u8; TEXT_LEN] {
    let bits = encode(point, LONGITUDE_MAX, TEXT_LATITUDE_MAX, STEP_MAX).bits;
    std::array::from_fn(|index| {
        let end = 5 * (index as u32 + 1);
        let symbol = (2 * STEP_MAX).checked_sub(end).map_or(0, |shift| bits >> shift & 0x1f);
        TEXT_ALPHABET[symbol as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_and_its_score_are_near_each_other() {
        let palermo = Point { longitude: 13.361389, latitude: 38.115556 };
        let cell = Cell::of(palermo, STEP_MAX);
        assert_eq!(cell.bits, 3_479_099_956_230_698);
        assert_eq!(
            cell.center(),
            Point { longitude: 13.361_389_338_970_184, latitude: 38.115_556_395_496_3 }
        );
        assert_eq!(&text(cell.center()), b"sqc8b49rny0");
        assert_eq!(Cell::of_score(cell.scores().0), cell);
    }

    #[test]
    fn neighbors_touch_and_the_map_is_round() {
        let cell = Cell::of(Point { longitude: 13.4, latitude: 52.5 }, 10);
        let (here, east, north) = (cell.area(), cell.neighbor(1, 0).area(), cell.neighbor(0, 1).area());
        assert_eq!((here.longitude_max, here.latitude_min), (east.longitude_min, east.latitude_min));
        assert_eq!((here.latitude_max, here.longitude_min), (north.latitude_min, north.longitude_min));
        for (x, y) in [(1, 1), (-1, 1), (0, -1), (1, 0)] {
            assert_eq!(cell.neighbor(x, y).neighbor(-x, -y), cell);
        }
        let date_line = Cell::of(Point { longitude: 179.9, latitude: 0.0 }, 6);
        assert_eq!(date_line.neighbor(1, 0).area().longitude_min, -180.0);
    }

    #[test]
    fn scores_of_a_cell_are_those_of_the_places_in_it() {
        let point = Point { longitude: -122.27652, latitude: 37.805186 };
        let score = Cell::of(point, STEP_MAX).bits as f64;
        for step in 1..=STEP_MAX {
            let (min, max) = Cell::of(point, step).scores();
            assert!(min <= score && score < max);
        }
    }
}

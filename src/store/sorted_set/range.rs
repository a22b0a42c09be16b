//! Parts of a sorted set: the ends of a range of scores, or of members where all scores are equal.

use std::cmp::Ordering;

/// Elements with a score in an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: f64,
    pub max: f64,
    pub excludes_min: bool,
    pub excludes_max: bool,
}

impl ScoreRange {
    /// Whether the score lies before the range.
    #[inline]
    pub fn is_before(&self, score: f64) -> bool {
        score < self.min || (self.excludes_min && score == self.min)
    }

    /// Whether the score lies behind the range.
    #[inline]
    pub fn is_behind(&self, score: f64) -> bool {
        score > self.max || (self.excludes_max && score == self.max)
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: below every member.
    Lowest,
    /// `+`: above every member.
    Highest,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

/// Elements with a member in an interval. Means something only where all have the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether the member lies before the range.
    #[inline]
    pub fn is_before(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Included(min) => member < min,
            LexBound::Excluded(min) => member <= min,
        }
    }

    /// Whether the member lies behind the range.
    #[inline]
    pub fn is_behind(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Included(max) => member > max,
            LexBound::Excluded(max) => member >= max,
        }
    }
}

/// The order of a sorted set: by score, and by member where scores are equal. No score is NaN.
#[inline]
pub fn order(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    match a.0.partial_cmp(&b.0) {
        Some(Ordering::Equal) | None => a.1.cmp(b.1),
        Some(ordering) => ordering,
    }
}

//! The geo commands: sorted sets whose scores are places (see `hash`). Here adding and asking about single places; `search`
//! finds those near a point.

mod hash;
mod search;
mod shape;
#[cfg(test)]
mod tests;

pub use search::{
    georadius, georadius_keys, georadius_ro, georadiusbymember, georadiusbymember_keys, georadiusbymember_ro,
    geosearch, geosearchstore,
};

use self::hash::{Cell, Point, LATITUDE_MAX, LONGITUDE_MAX, STEP_MAX};
use super::double::double;
use super::sorted_set;
use super::{Args, CommandError, CommandResult, Context};
use crate::resp::Reply;
use crate::store::SortedSet;

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]. Runs, and is logged, as ZADD.
pub fn geoadd(ctx: &mut Context, args: Args) -> CommandResult {
    let (mut only_new, mut only_present, mut first) = (false, false, 2);
    while let Some(option) = args.get(first) {
        if option.eq_ignore_ascii_case(b"nx") {
            only_new = true;
        } else if option.eq_ignore_ascii_case(b"xx") {
            only_present = true;
        } else if !option.eq_ignore_ascii_case(b"ch") {
            break;
        }
        first += 1;
    }
    let places = &args[first..];
    if !places.len().is_multiple_of(3) || (only_new && only_present) {
        return Err(CommandError::Syntax);
    }
    let mut scores = Vec::with_capacity(places.len() / 3);
    for place in places.chunks_exact(3) {
        let cell = Cell::of(point(place[0], place[1])?, STEP_MAX);
        scores.push(cell.bits.to_string());
    }
    let mut zadd: Vec<&[u8]> = vec![b"zadd"];
    zadd.extend_from_slice(&args[1..first]);
    for (score, place) in scores.iter().zip(places.chunks_exact(3)) {
        zadd.extend([score.as_bytes(), place[2]]);
    }
    let before = ctx.store.dirty;
    sorted_set::zadd(ctx, &zadd)?;
    if ctx.store.dirty != before {
        ctx.log_instead(&zadd);
    }
    Ok(())
}

/// GEODIST key member1 member2 [M | KM | FT | MI]
pub fn geodist(ctx: &mut Context, args: Args) -> CommandResult {
    let unit = match args[4..] {
        [] => 1.0,
        [unit] => metres(unit)?,
        _ => return Err(CommandError::Syntax),
    };
    let view = ctx.store.read_as::<SortedSet>(ctx.db, args[1])?;
    let place = |member: &[u8]| view.and_then(|view| view.score(member)).map(|s| Cell::of_score(s).center());
    match (place(args[2]), place(args[3])) {
        (Some(a), Some(b)) => write_distance(ctx.reply, shape::distance(a, b) / unit),
        _ => ctx.reply.null(),
    }
    Ok(())
}

/// GEOHASH key [member [member ...]]
pub fn geohash(ctx: &mut Context, args: Args) -> CommandResult {
    for_each_place(ctx, args, |reply, place| match place {
        Some(place) => reply.bulk(&hash::text(place)),
        None => reply.null(),
    })
}

/// GEOPOS key [member [member ...]]
pub fn geopos(ctx: &mut Context, args: Args) -> CommandResult {
    for_each_place(ctx, args, |reply, place| match place {
        Some(place) => write_point(reply, place),
        None => reply.null_array(),
    })
}

fn for_each_place(
    ctx: &mut Context,
    args: Args,
    mut write: impl FnMut(&mut Reply, Option<Point>),
) -> CommandResult {
    let view = ctx.store.read_as::<SortedSet>(ctx.db, args[1])?;
    ctx.reply.array(args.len() - 2);
    for member in &args[2..] {
        let score = view.and_then(|view| view.score(member));
        write(ctx.reply, score.map(|score| Cell::of_score(score).center()));
    }
    Ok(())
}

fn point(longitude: &[u8], latitude: &[u8]) -> Result<Point, CommandError> {
    let longitude = double(longitude).ok_or(CommandError::NotFloat)?;
    let latitude = double(latitude).ok_or(CommandError::NotFloat)?;
    if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
        return Err(CommandError::other(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        )));
    }
    Ok(Point { longitude, latitude })
}

/// Metres in a unit.
fn metres(unit: &[u8]) -> Result<f64, CommandError> {
    let units: [(&[u8], f64); 4] = [(b"m", 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let named = units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
    let error = "ERR unsupported unit provided. please use M, KM, FT, MI";
    named.map(|&(_, metres)| metres).ok_or(CommandError::other(error))
}

/// With four decimals, a bulk string in every protocol.
fn write_distance(reply: &mut Reply, distance: f64) {
    let units = (distance * 10_000.0).round_ties_even() as u64;
    reply.bulk(format!("{}.{:04}", units / 10_000, units % 10_000).as_bytes());
}

fn write_point(reply: &mut Reply, point: Point) {
    reply.array(2);
    for coordinate in [point.longitude, point.latitude] {
        let text = format!("{coordinate:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        reply.double_text(if text == "-0" { b"0" } else { text.as_bytes() });
    }
}

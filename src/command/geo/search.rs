//! Finding places near a point: GEOSEARCH, GEOSEARCHSTORE, and the older GEORADIUS and GEORADIUSBYMEMBER.
//!
//! The area is covered with cells of about its size; the places of each cell are an interval of scores, and those of them that are
//! inside are kept.

use super::super::double::double;
use super::super::elements::write_item;
use super::super::parse::integer;
use super::hash::{Cell, Point};
use super::shape::{Extent, Shape};
use super::{metres, point, write_distance, write_point, Args, CommandError, CommandResult, Context};
use crate::command::table::keys::FoundKeys;
use crate::resp::c_text;
use crate::resp::Reply;
use crate::store::listpack::Item;
use crate::store::{element_order, EventClass, Score, ScoreRange, SortedSet, SortedSetView, Ttl};
use crate::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    None,
    Ascending,
    Descending,
}

/// Where the area of a command is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// key longitude latitude radius unit
    Radius,
    /// key member radius unit
    RadiusByMember,
    /// key, then options
    Search,
    /// destination key, then options
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }
}

/// What a command was told.
struct Query {
    /// None while the source is missing and one of its members was to be the centre.
    center: Option<Point>,
    extent: Option<(Extent, f64)>,
    with_distance: bool,
    with_hash: bool,
    with_point: bool,
    order: Order,
    /// 0: all.
    count: usize,
    /// Any `count` places will do.
    any: bool,
    /// The index of the key to store the places at.
    store: Option<usize>,
    store_distances: bool,
}

/// GEORADIUS key longitude latitude radius M | KM | FT | MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]
/// [STORE key | STOREDIST key]
pub fn georadius(ctx: &mut Context, args: Args) -> CommandResult {
    search(ctx, args, Form::Radius, true)
}

/// GEORADIUS_RO: as GEORADIUS without STORE and STOREDIST.
pub fn georadius_ro(ctx: &mut Context, args: Args) -> CommandResult {
    search(ctx, args, Form::Radius, false)
}

/// GEORADIUSBYMEMBER key member radius M | KM | FT | MI [options as GEORADIUS]
pub fn georadiusbymember(ctx: &mut Context, args: Args) -> CommandResult {
    search(ctx, args, Form::RadiusByMember, true)
}

/// GEORADIUSBYMEMBER_RO: as GEORADIUSBYMEMBER without STORE and STOREDIST.
pub fn georadiusbymember_ro(ctx: &mut Context, args: Args) -> CommandResult {
    search(ctx, args, Form::RadiusByMember, false)
}

/// GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width height unit [ASC | DESC]
/// [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]
pub fn geosearch(ctx: &mut Context, args: Args) -> CommandResult {
    search(ctx, args, Form::Search, false)
}

/// GEOSEARCHSTORE destination source [options as GEOSEARCH, without those that begin with WITH] [STOREDIST]
pub fn geosearchstore(ctx: &mut Context, args: Args) -> CommandResult {
    search(ctx, args, Form::SearchStore, false)
}

/// GEORADIUS's keys.
pub fn georadius_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    keys_of(args, Form::Radius, found)
}

/// GEORADIUSBYMEMBER's keys.
pub fn georadiusbymember_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    keys_of(args, Form::RadiusByMember, found)
}

/// Their key specs are the source, what follows STORE, and what follows STOREDIST: of several of these the last counts.
fn keys_of(args: Args, form: Form, found: &mut FoundKeys) -> CommandResult {
    // With a source there is more that may be wrong, and nothing that is right only then.
    let query = Query::parse(args, form, true, None)?;
    found.key(1, 0);
    if let Some(index) = query.store {
        found.key(index, if query.store_distances { 2 } else { 1 });
    }
    Ok(())
}

fn search(ctx: &mut Context, args: Args, form: Form, may_store: bool) -> CommandResult {
    let source = args[if form == Form::SearchStore { 2 } else { 1 }];
    let view = ctx.store.read_as::<SortedSet>(ctx.db, source)?;
    let query = Query::parse(args, form, may_store, view)?;
    let destination = query.store.map(|index| args[index]);
    // With a source, the parser has found both or refused the query.
    let (Some(view), Some(center), Some((extent, unit))) = (view, query.center, query.extent) else {
        match destination {
            Some(key) => store(ctx, key, &[], form),
            None => ctx.reply.array(0),
        }
        return Ok(());
    };
    let shape = Shape { center, extent, unit };
    let places = query.find(view, &shape);
    let Some(key) = destination else {
        query.write(ctx.reply, &places, unit);
        return Ok(());
    };
    let scored = places.iter().map(|place| {
        let score = if query.store_distances { place.distance / unit } else { place.score };
        (place.member.to_vec(), score)
    });
    let mut elements: Vec<(Vec<u8>, Score)> = scored.collect();
    elements.sort_unstable_by(|a, b| element_order((a.1, &a.0), (b.1, &b.0)));
    store(ctx, key, &elements, form);
    Ok(())
}

/// Stores places, whatever the key held; none of them deletes it. Answers how many they are.
fn store(ctx: &mut Context, key: &[u8], elements: &[(Vec<u8>, Score)], form: Form) {
    if !elements.is_empty() {
        let result = SortedSet::of_sorted(elements, &ctx.store.settings);
        ctx.store.set_collection(ctx.db, key, result, Ttl::None);
        let event = if form.is_search() { "geosearchstore" } else { "georadiusstore" };
        ctx.changed(key, EventClass::ZSET, event);
        ctx.store.dirty += elements.len() as u64 - 1;
    } else if ctx.store.remove(ctx.db, key) {
        ctx.changed(key, EventClass::GENERIC, "del");
    }
    ctx.reply.integer(elements.len() as i64);
}

/// A place that was found.
struct Location<'a> {
    member: Item<'a>,
    score: Score,
    point: Point,
    /// From the centre, metres.
    distance: f64,
}

fn position(view: SortedSetView, member: &[u8]) -> Result<Point, CommandError> {
    let score = view.score(member);
    let score = score.ok_or(CommandError::other("ERR could not decode requested zset member"))?;
    Ok(Cell::of_score(score).center())
}

fn length(text: &[u8], error: &'static str) -> Result<f64, CommandError> {
    double(text).ok_or(CommandError::other(error))
}

/// A radius and its unit.
fn radius(radius: &[u8], unit: &[u8]) -> Result<(Extent, f64), CommandError> {
    let radius = length(radius, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::other("ERR radius cannot be negative"));
    }
    Ok((Extent::Radius(radius), metres(unit)?))
}

/// Width, height and unit.
fn sides(width: &[u8], height: &[u8], unit: &[u8]) -> Result<(Extent, f64), CommandError> {
    let width = length(width, "ERR need numeric width")?;
    let height = length(height, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::other("ERR height or width cannot be negative"));
    }
    Ok((Extent::Box { width, height }, metres(unit)?))
}

impl Query {
    fn parse(
        args: Args,
        form: Form,
        may_store: bool,
        view: Option<SortedSetView>,
    ) -> Result<Query, CommandError> {
        let mut query = Query {
            center: None,
            extent: None,
            with_distance: false,
            with_hash: false,
            with_point: false,
            order: Order::None,
            count: 0,
            any: false,
            store: None,
            store_distances: false,
        };
        let first_option = match form {
            Form::Radius => {
                query.center = Some(point(args[2], args[3])?);
                query.extent = Some(radius(args[4], args[5])?);
                6
            }
            Form::RadiusByMember => {
                // Without a source, all that matters is whether the result is to be stored.
                if let Some(view) = view {
                    query.center = Some(position(view, args[2])?);
                    query.extent = Some(radius(args[3], args[4])?);
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => {
                query.store = Some(1);
                3
            }
        };
        let (from_member, from_point) = query.parse_options(args, first_option, form, may_store, view)?;
        query.check(args[0], form, from_member || from_point)?;
        Ok(query)
    }

    /// Returns whether a member was named as the centre, and whether a point was.
    fn parse_options(
        &mut self,
        args: Args,
        first: usize,
        form: Form,
        may_store: bool,
        view: Option<SortedSetView>,
    ) -> Result<(bool, bool), CommandError> {
        let (mut from_member, mut from_point, mut by_radius, mut by_box) = (false, false, false, false);
        let mut options = &args[first..];
        while let [option, rest @ ..] = options {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            options = rest;
            if is(b"withdist") {
                self.with_distance = true;
            } else if is(b"withhash") {
                self.with_hash = true;
            } else if is(b"withcoord") {
                self.with_point = true;
            } else if is(b"any") {
                self.any = true;
            } else if is(b"asc") {
                self.order = Order::Ascending;
            } else if is(b"desc") {
                self.order = Order::Descending;
            } else if is(b"count") && !rest.is_empty() {
                let count = usize::try_from(integer(rest[0])?).ok().filter(|&count| count > 0);
                self.count = count.ok_or(CommandError::other("ERR COUNT must be > 0"))?;
                options = &rest[1..];
            } else if (is(b"store") || is(b"storedist")) && !rest.is_empty() && may_store {
                self.store = Some(args.len() - rest.len());
                self.store_distances = is(b"storedist");
                options = &rest[1..];
            } else if is(b"storedist") && form == Form::SearchStore {
                self.store_distances = true;
            } else if is(b"frommember") && !rest.is_empty() && form.is_search() && !from_point {
                if let Some(view) = view {
                    self.center = Some(position(view, rest[0])?);
                }
                from_member = true;
                options = &rest[1..];
            } else if is(b"fromlonlat") && rest.len() >= 2 && form.is_search() && !from_member {
                self.center = Some(point(rest[0], rest[1])?);
                from_point = true;
                options = &rest[2..];
            } else if is(b"byradius") && rest.len() >= 2 && form.is_search() && !by_box {
                self.extent = Some(radius(rest[0], rest[1])?);
                by_radius = true;
                options = &rest[2..];
            } else if is(b"bybox") && rest.len() >= 3 && form.is_search() && !by_radius {
                self.extent = Some(sides(rest[0], rest[1], rest[2])?);
                by_box = true;
                options = &rest[3..];
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok((from_member, from_point))
    }

    /// What no single option shows. `command` is the name that the client used.
    fn check(&mut self, command: &[u8], form: Form, has_center: bool) -> CommandResult {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_point) {
            let name = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(CommandError::other(format!(
                "ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let exactly_one = |names: &str| {
            let command = c_text(command);
            Err(CommandError::other(text!("ERR exactly one of ", names, " can be specified for ", command)))
        };
        if form.is_search() && !has_center {
            return exactly_one("FROMMEMBER or FROMLONLAT");
        }
        if form.is_search() && self.extent.is_none() {
            return exactly_one("BYRADIUS and BYBOX");
        }
        if self.any && self.count == 0 {
            return Err(CommandError::other("ERR the ANY argument requires COUNT argument"));
        }
        // The nearest ones are meant, unless any will do.
        if self.count != 0 && self.order == Order::None && !self.any {
            self.order = Order::Ascending;
        }
        Ok(())
    }

    /// The places in a shape, in the order and number that were asked for.
    fn find<'v>(&self, view: SortedSetView<'v>, shape: &Shape) -> Vec<Location<'v>> {
        let enough = if self.any { self.count } else { usize::MAX };
        let mut places = Vec::new();
        for cell in shape.cells() {
            let (min, max) = cell.scores();
            let range = ScoreRange { min, max, excludes_min: false, excludes_max: true };
            for (member, score) in view.elements(view.ranks_by_score(&range), false) {
                if places.len() >= enough {
                    break;
                }
                let point = Cell::of_score(score).center();
                if let Some(distance) = shape.distance_inside(point) {
                    places.push(Location { member, score, point, distance });
                }
            }
        }
        self.sort(&mut places);
        places
    }

    fn sort(&self, places: &mut Vec<Location>) {
        let wanted = if self.count == 0 { places.len() } else { self.count.min(places.len()) };
        let order = |a: &Location, b: &Location| match self.order {
            Order::Descending => b.distance.total_cmp(&a.distance),
            Order::None | Order::Ascending => a.distance.total_cmp(&b.distance),
        };
        if self.order != Order::None {
            if wanted > 0 && wanted < places.len() {
                places.select_nth_unstable_by(wanted - 1, order);
                places.truncate(wanted);
            }
            places.sort_by(order);
        }
        places.truncate(wanted);
    }

    fn write(&self, reply: &mut Reply, places: &[Location], unit: f64) {
        let details = [self.with_distance, self.with_hash, self.with_point];
        let details = details.into_iter().filter(|&wanted| wanted).count();
        reply.array(places.len());
        for place in places {
            if details > 0 {
                reply.array(details + 1);
            }
            write_item(reply, place.member);
            if self.with_distance {
                write_distance(reply, place.distance / unit);
            }
            if self.with_hash {
                reply.integer(place.score as i64);
            }
            if self.with_point {
                write_point(reply, place.point);
            }
        }
    }
}

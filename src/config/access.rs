//! The table of directives as a whole, CONFIG GET and CONFIG SET.

use super::directive::{flag, Directive, Reason, Source};
use super::{cluster, encodings, engine, general, memory, network, observing, persistence};
use super::{replication, security, tls, Config};
use crate::base::glob::glob_match;
use crate::resp::{c_text, Text};
use crate::text;

static GROUPS: [&[Directive]; 11] = [
    general::DIRECTIVES,
    engine::DIRECTIVES,
    network::DIRECTIVES,
    security::DIRECTIVES,
    memory::DIRECTIVES,
    encodings::DIRECTIVES,
    persistence::DIRECTIVES,
    replication::DIRECTIVES,
    cluster::DIRECTIVES,
    tls::DIRECTIVES,
    observing::DIRECTIVES,
];

/// Every directive, in the order in which CONFIG GET shows them and CONFIG REWRITE appends them.
pub fn directives() -> impl Iterator<Item = &'static Directive> {
    GROUPS.iter().copied().flatten()
}

/// The directive of that name or alias, in any case, and the name by which it was found.
pub fn find(name: &[u8]) -> Option<(&'static Directive, &'static str)> {
    directives().find_map(|directive| {
        let names = std::iter::once(directive.name).chain(directive.alias);
        let mut found = names.filter(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        found.next().map(|known| (directive, known))
    })
}

/// The directives that are accepted so that a redis.conf works unchanged, and that nothing reads.
pub fn without_effect() -> impl Iterator<Item = &'static str> {
    directives().filter(|directive| directive.is(flag::NO_EFFECT)).map(|directive| directive.name)
}

/// Whether the value of this directive must be kept out of logs.
pub fn is_sensitive(name: &[u8]) -> bool {
    find(name).is_some_and(|(directive, _)| directive.is(flag::SENSITIVE))
}

/// CONFIG GET: names and values. A name without wildcards is given back as it was asked for; a pattern finds names and
/// aliases, but not the hidden ones. No name comes twice.
pub fn get(config: &Config, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |name: &[u8], directive: &Directive| {
        if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            found.push((name.to_vec(), directive.text(config)));
        }
    };
    for pattern in patterns {
        if !pattern.iter().any(|byte| matches!(byte, b'[' | b'*' | b'?')) {
            if let Some((directive, _)) = find(pattern) {
                add(pattern, directive);
            }
            continue;
        }
        for directive in directives().filter(|directive| !directive.is(flag::HIDDEN)) {
            for name in std::iter::once(directive.name).chain(directive.alias) {
                if glob_match(pattern, name.as_bytes(), true) {
                    add(name.as_bytes(), directive);
                }
            }
        }
    }
    found
}

/// Who asks for a change, as far as it matters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setter {
    /// Connected from this machine (`enable-protected-configs local`).
    pub local: bool,
    /// The data set is being loaded.
    pub loading: bool,
}

/// An accepted change.
#[derive(Clone, Debug)]
pub struct Change {
    pub config: Config,
    /// Names of the directives whose value is another now, in the order given.
    pub changed: Vec<&'static str>,
}

/// Why the caller could not act on a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyError {
    /// The directive to blame; the first changed one when not known.
    pub directive: Option<&'static str>,
    pub reason: String,
}

impl ApplyError {
    pub fn of(directive: &'static str, reason: impl Into<String>) -> Self {
        Self { directive: Some(directive), reason: reason.into() }
    }
}

impl From<String> for ApplyError {
    fn from(reason: String) -> Self {
        Self { directive: None, reason }
    }
}

/// Why CONFIG SET was refused; its text is the client's reply, error code included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// A name without a value.
    Syntax,
    Unknown(Vec<u8>),
    Loading,
    Refused {
        directive: Vec<u8>,
        reason: String,
    },
    /// Accepted, but the server could not act on it. What it had done was undone, unless `undo` says why not.
    NotApplied {
        directive: &'static str,
        reason: String,
        undo: Option<String>,
    },
}

impl SetError {
    pub fn text(&self) -> Text {
        let failed = |directive: &[u8], reason: &str| {
            text!("ERR CONFIG SET failed (possibly related to argument '", c_text(directive), "') - ", reason)
        };
        match self {
            SetError::Syntax => "ERR syntax error".into(),
            SetError::Unknown(name) => {
                text!("ERR Unknown option or number of arguments for CONFIG SET - '", c_text(name), "'")
            }
            SetError::Loading => "LOADING Redis is loading the dataset in memory".into(),
            SetError::Refused { directive, reason } => failed(directive, reason),
            SetError::NotApplied { directive, reason, .. } => failed(directive.as_bytes(), reason),
        }
    }
}

/// CONFIG SET: all the pairs of `args` (name, value, name, value...) or none.
///
/// `apply` is called once, with the old and the new configuration and the names of what differs, to act on them. When
/// it fails it is called again with the two exchanged, to undo what it had done. The caller then puts the
/// `Change` in the place of `current`.
pub fn change(
    current: &Config,
    args: &[&[u8]],
    setter: Setter,
    mut apply: impl FnMut(&Config, &Config, &[&'static str]) -> Result<(), ApplyError>,
) -> Result<Change, SetError> {
    let pairs = resolve(current, args, setter)?;
    let mut config = current.clone();
    for (directive, name, value) in &pairs {
        let words = if directive.is(flag::MULTI) { split_at_spaces(value) } else { vec![value.to_vec()] };
        directive
            .assign(&mut config, &words, Source::Set)
            .map_err(|reason| refused(name.as_bytes(), reason))?;
    }
    config.settle();

    let differs = |directive: &Directive| directive.text(current) != directive.text(&config);
    let changed: Vec<&'static str> = pairs
        .iter()
        .filter(|(directive, ..)| directive.is(flag::VOLATILE) || differs(directive))
        .map(|(directive, ..)| directive.name)
        .collect();
    if let Some(first) = changed.first() {
        if let Err(error) = apply(current, &config, &changed) {
            let undo = apply(&config, current, &changed).err().map(|error| error.reason);
            return Err(SetError::NotApplied {
                directive: error.directive.unwrap_or(first),
                reason: error.reason,
                undo,
            });
        }
    }
    Ok(Change { config, changed })
}

fn refused(name: &[u8], reason: impl Into<Reason>) -> SetError {
    SetError::Refused { directive: name.to_vec(), reason: reason.into().into_owned() }
}

type Pair<'a> = (&'static Directive, &'static str, &'a [u8]);

/// Finds every directive and refuses what may not be set, before any value is looked at.
fn resolve<'a>(current: &Config, args: &[&'a [u8]], setter: Setter) -> Result<Vec<Pair<'a>>, SetError> {
    let may_set_protected = current.security.enable_protected_configs.allows(setter.local);
    let (whole, rest) = args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(SetError::Syntax);
    }
    let mut pairs: Vec<Pair> = Vec::with_capacity(whole.len());
    for &[asked, value] in whole {
        let (directive, name) = find(asked).ok_or_else(|| SetError::Unknown(asked.to_vec()))?;
        if directive.is(flag::IMMUTABLE) {
            return Err(refused(asked, "can't set immutable config"));
        }
        if directive.is(flag::PROTECTED) && !may_set_protected {
            return Err(refused(asked, "can't set protected config"));
        }
        if directive.is(flag::DENY_LOADING) && setter.loading {
            return Err(SetError::Loading);
        }
        if pairs.iter().any(|(_, known, _)| *known == name) {
            return Err(refused(asked, "duplicate parameter"));
        }
        pairs.push((directive, name, value));
    }
    Ok(pairs)
}

/// One word a space, also between two of them; none for the empty text. CONFIG SET knows no quotes.
fn split_at_spaces(text: &[u8]) -> Vec<Vec<u8>> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect()
}

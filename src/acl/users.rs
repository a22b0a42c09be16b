//! All users.

use crate::resp::{c_text, Text};
use crate::text;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::selector::has_spaces;
use super::user::User;
use super::RuleError;

/// The user of connections that have not logged in.
pub const DEFAULT_USER: &[u8] = b"default";

#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    by_serial: HashMap<u64, Arc<User>, foldhash::fast::RandomState>,
}

/// Why a user of the configuration is none: which of its words, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    pub word: Vec<u8>,
    pub why: String,
}

impl Users {
    /// The default user alone, who may do everything.
    pub fn new(requirepass: Option<&[u8]>) -> Users {
        let mut default = all_powerful();
        default.set_only_password(requirepass);
        Users::default().with_user(default)
    }

    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// Whoever is known by this serial number (`User::serial`), changed meanwhile or not. None: deleted.
    pub fn by_serial(&self, serial: u64) -> Option<&Arc<User>> {
        self.by_serial.get(&serial)
    }

    /// Users always have one.
    pub fn default_user(&self) -> Arc<User> {
        self.get(DEFAULT_USER).cloned().unwrap_or_else(|| Arc::new(User::new(DEFAULT_USER, false)))
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// These users with one more, or one changed. `Err` is what ACL SETUSER answers; nothing changes then.
    pub fn with(&self, name: &[u8], rules: &[&[u8]], all_channels: bool) -> Result<Users, Text> {
        let rules = joined(rules).map_err(|open| {
            text!("Unmatched parenthesis in acl selector starting at '", c_text(&open), "'.")
        })?;
        let mut user = self.get(name).map_or_else(|| User::new(name, all_channels), |user| (**user).clone());
        user.all_channels = all_channels;
        for rule in &rules {
            user.apply(rule).map_err(|why| {
                let why = format_args!("': {why}");
                text!("Error in ACL SETUSER modifier '", c_text(rule), why)
            })?;
        }
        Ok(self.with_user(user))
    }

    /// These users, and how many of the named ones they no longer have.
    pub fn without(&self, names: &[&[u8]]) -> (Users, usize) {
        let mut users = self.clone();
        let removed: Vec<Arc<User>> = names.iter().filter_map(|name| users.by_name.remove(*name)).collect();
        for user in &removed {
            users.by_serial.remove(&user.serial);
        }
        (users, removed.len())
    }

    pub fn with_default_password(&self, password: Option<&[u8]>) -> Users {
        let mut user = (*self.default_user()).clone();
        user.set_only_password(password);
        self.with_user(user)
    }

    fn with_user(&self, user: User) -> Users {
        let mut users = self.clone();
        let user = Arc::new(user);
        if let Some(before) = users.by_name.insert(user.name.clone(), user.clone()) {
            users.by_serial.remove(&before.serial);
        }
        users.by_serial.insert(user.serial, user);
        users
    }

    /// These users with those of the configuration, each a name and rules; the default user is made anew. `Err`: of which, and what
    /// is wrong.
    pub fn with_configured<'a>(
        &self,
        lines: impl IntoIterator<Item = (&'a [u8], &'a [Vec<u8>])>,
        all_channels: bool,
    ) -> Result<Users, (usize, LoadError)> {
        let mut users = self.clone();
        let mut seen = HashSet::new();
        for (index, (name, rules)) in lines.into_iter().enumerate() {
            let error =
                |word: &[u8], why: &str| (index, LoadError { word: word.to_vec(), why: why.to_owned() });
            if has_spaces(name) {
                return Err(error(name, "Spaces not allowed in ACL usernames"));
            }
            if !seen.insert(name) {
                let why = "Duplicate user found. A user can only be defined once in config files";
                return Err(error(name, why));
            }
            let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
            let rules = joined(&rules).map_err(|open| error(&open, "Unmatched parenthesis"))?;
            let mut user = User::new(name, all_channels);
            for rule in &rules {
                user.apply(rule).map_err(|why| error(rule, &why.to_string()))?;
            }
            users = users.with_user(user);
        }
        Ok(users)
    }

    /// The users of an ACL file; all that is wrong with it otherwise.
    pub fn of_file(file: &Path, text: &[u8], all_channels: bool) -> Result<Users, Text> {
        let mut users = Users::default();
        let mut errors = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let at = text!(file, format_args!(":{}", index + 1));
            let words: Vec<&[u8]> = line.trim_ascii().split(|byte| *byte == b' ').collect();
            match words[..] {
                [b""] => {}
                [b"user", name, ..] if has_spaces(name) => {
                    errors.extend_from_slice(&text!(
                        "'",
                        at,
                        ": username '",
                        c_text(name),
                        "' contains invalid characters. "
                    ));
                }
                [b"user", name, ..] if users.get(name).is_some() => {
                    let place = format_args!("' found on line {}. ", index + 1);
                    errors.extend_from_slice(&text!("WARNING: Duplicate user '", c_text(name), place));
                }
                [b"user", name, ref rules @ ..] => {
                    let mut user = User::new(name, all_channels);
                    errors.extend(apply_line(&mut user, rules, &at));
                    users = users.with_user(user);
                }
                _ => errors.extend_from_slice(&text!(
                    at,
                    " should start with user keyword followed by the username. "
                )),
            }
        }
        if !errors.is_empty() {
            return Err(text!(
                errors,
                "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            ));
        }
        if users.get(DEFAULT_USER).is_none() {
            users = users.with_user(all_powerful());
        }
        Ok(users)
    }

    /// As an ACL file has them, a line each.
    pub fn text(&self) -> Vec<u8> {
        self.iter().flat_map(|user| [user.line(), b"\n".to_vec()]).flatten().collect()
    }
}

/// The default user as he comes.
fn all_powerful() -> User {
    let mut user = User::new(DEFAULT_USER, false);
    for rule in ["+@all", "~*", "&*", "on", "nopass"] {
        let applied = user.apply(rule.as_bytes());
        debug_assert!(applied.is_ok(), "{rule}");
    }
    user
}

/// Applies the rules of a line of a file; returns what is wrong. Of rules that may have secrets in them only the first that is.
fn apply_line(user: &mut User, rules: &[&[u8]], at: &Text) -> Vec<u8> {
    let Ok(rules) = joined(rules) else {
        return text!(at, ": Unmatched parenthesis in selector definition.").into_bytes();
    };
    let (mut errors, mut said) = (Vec::new(), false);
    for rule in &rules {
        match user.apply(rule.trim_ascii()) {
            Ok(()) => {}
            Err(why @ RuleError::UnknownCommand) => {
                let why = format_args!("': {why}. ");
                errors.extend_from_slice(&text!(at, ": Error in applying operation '", c_text(rule), why));
            }
            Err(_) if said => {}
            Err(why) => {
                said = true;
                errors.extend_from_slice(&text!(at, format_args!(": {why}. ")));
            }
        }
    }
    errors
}

/// Puts selectors together that are spread over several words. `Err`: the word that opens one that is not closed.
fn joined(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut joined: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<&[u8]> = None;
    for word in words {
        match open {
            Some(_) => {
                if let Some(selector) = joined.last_mut() {
                    selector.push(b' ');
                    selector.extend_from_slice(word);
                }
            }
            None => joined.push(word.to_vec()),
        }
        let ends = word.ends_with(b")");
        open = match open {
            None if word.starts_with(b"(") && !ends => Some(word),
            Some(_) if ends => None,
            still => still,
        };
    }
    open.map_or(Ok(joined), |word| Err(word.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    fn changed(users: &Users, name: &str, rules: &str) -> Result<Users, Text> {
        let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        users.with(name.as_bytes(), &rules, false)
    }

    fn line(users: &Users, name: &str) -> String {
        String::from_utf8(users.get(name.as_bytes()).unwrap().line()).unwrap()
    }

    fn may(users: &Users, request: &str) -> Result<(), Text> {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let spec = table::resolve(&args).unwrap();
        let user = users.get(b"eve").unwrap();
        user.check(spec, &args).map_err(|denial| denial.long_text(user, spec, &args))
    }

    #[test]
    fn rules_are_listed_so_that_they_make_the_same_user() {
        let users = Users::new(None);
        assert_eq!(line(&users, "default"), "user default on nopass sanitize-payload ~* &* +@all");
        let rules = "on >secret ~a* %R~b %W~c &news* +@read -get +config|get +select|0 (+set ~d)";
        let users = changed(&users, "eve", rules).unwrap();
        let eve = line(&users, "eve");
        assert_eq!(
            eve,
            "user eve on sanitize-payload #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~a* %R~b %W~c \
             resetchannels &news* -@all +@read -get +config|get +select|0 (~d resetchannels -@all +set)"
        );
        let again = changed(&Users::new(None), "eve", eve.split_once("eve ").unwrap().1).unwrap();
        assert_eq!(line(&again, "eve"), eve);
        let of_file = Users::of_file(Path::new("users.acl"), &users.text(), false).unwrap();
        assert_eq!(of_file.text(), users.text());
        let users = changed(&users, "eve", "+get +config -@all +@all -config|set").unwrap();
        assert!(line(&users, "eve").contains(" +@all -config|set ("));
        let users = changed(&users, "eve", "reset").unwrap();
        assert_eq!(line(&users, "eve"), "user eve off sanitize-payload resetchannels -@all");
    }

    #[test]
    fn a_wrong_rule_changes_nothing_and_says_what_is_wrong() {
        let users = Users::new(None);
        for (rules, why) in [
            ("+nothing", "Error in ACL SETUSER modifier '+nothing': Unknown command or category name in ACL"),
            (
                "+@nothing",
                "Error in ACL SETUSER modifier '+@nothing': Unknown command or category name in ACL",
            ),
            ("what", "Error in ACL SETUSER modifier 'what': Syntax error"),
            ("+config|get|more", "'+config|get|more': Allowing first-arg of a subcommand is not supported"),
            ("+select|", "'+select|': Syntax error"),
            ("%X~a", "'%X~a': Syntax error"),
            ("<unknown", "The password you are trying to remove from the user does not exist"),
            ("#short", "The password hash must be exactly 64 characters"),
            ("on (+get", "Unmatched parenthesis in acl selector starting at '(+get'."),
            ("~* ~a", "Adding a pattern after the * pattern (or the 'allkeys' flag)"),
            ("&* &a", "Adding a pattern after the * pattern (or the 'allchannels' flag)"),
        ] {
            let error = changed(&users, "eve", rules).unwrap_err();
            assert!(error.to_string().contains(why), "{rules}: {error}");
        }
        let text = b"user eve +nothing\nuser eve on\nuse\n\nuser bob what what\n";
        let error = Users::of_file(Path::new("f"), text, false).unwrap_err();
        assert_eq!(
            error,
            "f:1: Error in applying operation '+nothing': Unknown command or category name in ACL. WARNING: Duplicate user \
             'eve' found on line 2. f:3 should start with user keyword followed by the username. f:5: Syntax error. WARNING: \
             ACL errors detected, no change to the previously active ACL rules was performed"
        );
    }

    #[test]
    fn a_request_needs_one_selector_that_allows_all_of_it() {
        let users = changed(
            &Users::new(None),
            "eve",
            "on nopass +@read +set +config|get +select|0 +psubscribe +publish ~r* %W~w* &news* (+mget +copy %R~x %W~y)",
        )
        .unwrap();
        for allowed in [
            "get r1",
            "set r1 x",
            "set w1 x",
            "mget r1 r2",
            "mget x",
            "copy x y",
            "config get port",
            "select 0",
            "publish news1 x",
            "psubscribe news*",
            "auth eve x",
        ] {
            assert_eq!(may(&users, allowed), Ok(()), "{allowed}");
        }
        for (denied, why) in [
            ("del r1", "to run the 'del' command"),
            ("config set port 1", "to run the 'config|set' command"),
            ("select 1", "to run the 'select' command"),
            ("get w1", "to access the 'w1' key"),
            ("set w1 x get", "to access the 'w1' key"),
            ("mget r1 x", "to access the 'x' key"),
            ("copy y x", "to access the 'y' key"),
            ("publish other x", "to access the 'other' channel"),
            ("psubscribe news1", "to access the 'news1' channel"),
        ] {
            let error = may(&users, denied).unwrap_err();
            assert!(
                error.starts_with(b"User eve has no permissions ") && error.ends_with(why.as_bytes()),
                "{denied}: {error}"
            );
        }
    }

    #[test]
    fn passwords_are_told_by_their_hashes() {
        let users = changed(&Users::new(Some(b"first")), "eve", "on >one >two").unwrap();
        let eve = users.get(b"eve").unwrap();
        assert!(eve.accepts(b"one") && eve.accepts(b"two") && !eve.accepts(b"three") && !eve.is_open());
        let users = changed(&users, "eve", "<one off").unwrap();
        assert!(!users.get(b"eve").unwrap().accepts(b"two"), "the user is off");
        let users = changed(&users, "eve", "on nopass").unwrap();
        assert!(users.get(b"eve").unwrap().accepts(b"whatever"));
        assert!(users.default_user().accepts(b"first") && !users.default_user().accepts(b""));
        let users = users.with_default_password(None);
        assert!(users.default_user().is_open());
    }
}

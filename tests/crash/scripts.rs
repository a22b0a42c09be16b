//! Operations as scripts: what they do must be there as a whole, too.

use super::support::Random;

/// How the commands of an operation are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As they are; several as a MULTI body.
    Plain,
    Script,
    /// A script that does not say which keys it touches: with several shards all of them stand still for it.
    ScriptWithoutKeys,
}

/// Runs the commands that are in ARGV one behind the other, each behind the number of its words.
const RUN: &str = "local at = 1 \
    while at <= #ARGV do \
      local count = tonumber(ARGV[at]) \
      redis.call(unpack(ARGV, at + 1, at + count)) \
      at = at + 1 + count \
    end \
    return redis.status_reply('OK')";

impl Way {
    pub fn random(random: &mut Random) -> Way {
        match random.below(20) {
            0..=15 => Way::Plain,
            16..=18 => Way::Script,
            _ => Way::ScriptWithoutKeys,
        }
    }

    /// What is sent for `commands`, one reply each.
    pub fn requests(self, commands: Vec<Vec<String>>, is_key: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
        let one = |word: &str| vec![word.to_owned()];
        match self {
            Way::Plain if commands.len() == 1 => commands,
            Way::Plain => {
                std::iter::once(one("MULTI")).chain(commands).chain(std::iter::once(one("EXEC"))).collect()
            }
            Way::Script => {
                let mut keys: Vec<String> =
                    commands.iter().flatten().filter(|word| is_key(word)).cloned().collect();
                keys.sort_unstable();
                keys.dedup();
                vec![eval(RUN.to_owned(), keys, commands)]
            }
            // Another script for the server, which remembers that it touches what it does not name.
            Way::ScriptWithoutKeys => vec![eval(format!("{RUN} --"), Vec::new(), commands)],
        }
    }
}

fn eval(script: String, keys: Vec<String>, commands: Vec<Vec<String>>) -> Vec<String> {
    let mut request = vec!["EVAL".to_owned(), script, keys.len().to_string()];
    request.extend(keys);
    for command in commands {
        request.push(command.len().to_string());
        request.extend(command);
    }
    request
}

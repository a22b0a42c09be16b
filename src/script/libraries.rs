//! All libraries of functions.
//!
//! They are a value that never changes and that all shards share; a command makes another one of it. The code of a library runs once to
//! find out which functions it has, in the interpreter of whoever loads it; every other interpreter runs it again when it needs it
//! (`Vm::prepare_function`).

use super::library::{lua_of, name_of, FunctionInfo, Library};
use super::vm::Vm;
use crate::base::glob::glob_match;
use crate::rdb::file::{put_function, Opcode};
use crate::rdb::{seal, unsealed, Encoder, Format, Reader};
use crate::resp::Text;
use crate::text;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long the code of a library may take to register its functions when a client sends it.
pub const LOAD_TIME_MAX: Duration = Duration::from_millis(500);

/// What happens to libraries that are there already when a payload is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePolicy {
    Flush,
    Append,
    Replace,
}

impl RestorePolicy {
    pub fn parse(word: &[u8]) -> Option<RestorePolicy> {
        match &word.to_ascii_lowercase()[..] {
            b"flush" => Some(RestorePolicy::Flush),
            b"append" => Some(RestorePolicy::Append),
            b"replace" => Some(RestorePolicy::Replace),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<Arc<str>, Arc<Library>>,
    /// By their names in lower case: where the function is among those of its library.
    functions: HashMap<Box<str>, (Arc<Library>, usize), foldhash::fast::RandomState>,
}

impl Libraries {
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Library>> {
        self.by_name.get(std::str::from_utf8(name).ok()?)
    }

    /// The function of this name, in either case.
    pub fn function(&self, name: &[u8]) -> Option<(&Arc<Library>, &FunctionInfo)> {
        let (library, index) = self.functions.get(&*std::str::from_utf8(name).ok()?.to_ascii_lowercase())?;
        Some((library, library.functions.get(*index)?))
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.by_name.values()
    }

    /// Those whose name matches, letters in either case.
    pub fn matching<'a>(&'a self, pattern: &'a [u8]) -> impl Iterator<Item = &'a Arc<Library>> {
        self.iter().filter(|library| glob_match(pattern, library.name.as_bytes(), true))
    }

    pub fn libraries_count(&self) -> usize {
        self.by_name.len()
    }

    pub fn functions_count(&self) -> usize {
        self.iter().map(|library| library.functions.len()).sum()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Bytes, about; without what the interpreters have of them.
    pub fn memory_bytes(&self) -> usize {
        let libraries =
            self.iter().map(|library| library.memory_bytes() + size_of::<(Arc<str>, Arc<Library>)>());
        let names =
            self.functions.keys().map(|name| name.len() + size_of::<(Box<str>, (Arc<Library>, usize))>());
        size_of_val(self) + libraries.sum::<usize>() + names.sum::<usize>()
    }

    /// These libraries with one more, or one replaced, and its name. `Err` is what FUNCTION LOAD answers. `time_max`: what a client
    /// sends has `LOAD_TIME_MAX`, what comes from a master or a file any.
    pub fn load(
        &self,
        vm: &mut Vm,
        code: &[u8],
        replace: bool,
        time_max: Option<Duration>,
    ) -> Result<(Libraries, Arc<str>), Text> {
        let mut libraries = self.clone();
        let library = vm.loading(|vm| Ok(vec![libraries.add(vm, code, replace, time_max)?]))?;
        Ok((libraries, library[0].name.clone()))
    }

    /// These libraries with those of a file. `Err`: what is wrong with one of them.
    pub fn loaded<'a>(
        &self,
        vm: &mut Vm,
        codes: impl IntoIterator<Item = &'a [u8]>,
        replace: bool,
    ) -> Result<Libraries, Text> {
        let mut libraries = self.clone();
        vm.loading(|vm| codes.into_iter().map(|code| libraries.add(vm, code, replace, None)).collect())?;
        Ok(libraries)
    }

    /// These libraries without one. `Err` is what FUNCTION DELETE answers.
    pub fn delete(&self, name: &[u8]) -> Result<Libraries, Text> {
        let library = self.get(name).ok_or("ERR Library not found")?;
        let mut libraries = self.clone();
        libraries.unlink(library);
        Ok(libraries)
    }

    /// What FUNCTION DUMP answers.
    pub fn dump(&self, format: Format) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut encoder = Encoder::new(format);
        for library in self.iter() {
            put_function(&mut encoder, &library.code, &mut payload);
        }
        seal(&mut payload, format);
        payload
    }

    /// These libraries with those of a payload. `Err` is what FUNCTION RESTORE answers.
    pub fn restored(
        &self,
        vm: &mut Vm,
        payload: &[u8],
        policy: RestorePolicy,
        skips_checksum: bool,
    ) -> Result<Libraries, Text> {
        let body =
            unsealed(payload, skips_checksum).ok_or("ERR DUMP payload version or checksum are wrong")?;
        let mut libraries = Libraries::default();
        vm.loading(|vm| {
            let mut reader = Reader::new(body);
            let mut restored = Libraries::default();
            while !reader.remaining().is_empty() {
                match reader.byte().ok().and_then(Opcode::of_byte) {
                    Some(Opcode::Function2) => {}
                    Some(Opcode::FunctionBeforeRelease) => {
                        return Err("ERR Pre-GA function format not supported".into());
                    }
                    _ => return Err("ERR given type is not a function".into()),
                }
                let code = reader.blob().map_err(|_| "ERR Failed loading library payload")?;
                restored.add(vm, &code, false, None)?;
            }
            libraries = match policy {
                RestorePolicy::Flush => restored.clone(),
                RestorePolicy::Append => self.joined(&restored, false)?,
                RestorePolicy::Replace => self.joined(&restored, true)?,
            };
            Ok(restored.iter().cloned().collect())
        })?;
        Ok(libraries)
    }

    /// What is left of these when it fails is to be thrown away.
    fn add(
        &mut self,
        vm: &mut Vm,
        code: &[u8],
        replace: bool,
        time_max: Option<Duration>,
    ) -> Result<Arc<Library>, Text> {
        let name = name_of(code).map_err(|why| text!("ERR ", why))?;
        if let Some(before) = self.by_name.get(&name).cloned() {
            if !replace {
                return Err(format!("ERR Library '{name}' already exists").into());
            }
            self.unlink(&before);
        }
        let functions = vm.register(&name, lua_of(code), time_max, false)?;
        if functions.is_empty() {
            return Err("ERR No functions registered".into());
        }
        let library = Arc::new(Library { name, code: code.into(), functions });
        self.refuse_known_functions(&library)?;
        self.link(&library);
        Ok(library)
    }

    /// These libraries and others. `Err`: what is in both, and may not be replaced.
    fn joined(&self, others: &Libraries, replace: bool) -> Result<Libraries, Text> {
        let mut libraries = self.clone();
        for other in others.iter() {
            if let Some(before) = self.by_name.get(&other.name) {
                if !replace {
                    return Err(format!("ERR Library {} already exists", other.name).into());
                }
                libraries.unlink(before);
            }
        }
        for other in others.iter() {
            libraries.refuse_known_functions(other)?;
        }
        others.iter().for_each(|other| libraries.link(other));
        Ok(libraries)
    }

    fn refuse_known_functions(&self, library: &Library) -> Result<(), Text> {
        match library.functions.iter().find(|info| self.function(info.name.as_bytes()).is_some()) {
            Some(info) => Err(format!("ERR Function {} already exists", info.name).into()),
            None => Ok(()),
        }
    }

    fn link(&mut self, library: &Arc<Library>) {
        for (index, info) in library.functions.iter().enumerate() {
            // Of two that differ in case only, the first is called: Redis takes such a library, and calls one of them.
            let name = info.name.to_ascii_lowercase().into_boxed_str();
            self.functions.entry(name).or_insert_with(|| (library.clone(), index));
        }
        self.by_name.insert(library.name.clone(), library.clone());
    }

    fn unlink(&mut self, library: &Arc<Library>) {
        self.functions.retain(|_, (of, _)| !Arc::ptr_eq(of, library));
        self.by_name.remove(&library.name);
    }
}

#[cfg(test)]
mod tests;

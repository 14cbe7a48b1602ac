//! The items, and which of them is selected.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{FILE_SLOTS, FwCfgError, FwCfgKey, NAME_BYTES};

/// The key of the first file.
const FILE_FIRST: u16 = 0x20;
/// The bits of a key that count: 14 is the ancient way to ask for a write, 15 is for items of the architecture.
const INDEX_MASK: u16 = 0x3fff;
const WRITE_CHANNEL: u16 = 1 << 14;

/// Whom to tell that the guest wrote a file.
pub(super) type WriteCallback = Arc<dyn Fn(usize, &[u8]) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Item {
    pub(super) data: Arc<Vec<u8>>,
    pub(super) written: Option<WriteCallback>,
}

#[derive(Default)]
pub(super) struct Items {
    numbered: BTreeMap<u16, Item>,
    /// Sorted by name; the key of each is its place.
    files: Vec<(String, Item)>,
    cursor: Cursor,
}

/// Which byte is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// What is selected; `None` after a key that cannot exist.
    key: Option<u16>,
    pub(super) offset: usize,
    /// How many selections there were: a transfer moves the cursor on only if it is still its own.
    selections: u64,
}

impl Items {
    pub(super) fn set(&mut self, key: FwCfgKey, bytes: Vec<u8>) {
        let item = Item {
            data: Arc::new(bytes),
            written: None,
        };
        self.numbered.insert(key.0, item);
    }

    pub(super) fn add_file(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        written: Option<WriteCallback>,
    ) -> Result<(), FwCfgError> {
        let owned = || name.to_owned();
        if name.is_empty() || name.len() >= NAME_BYTES || name.contains('\0') {
            return Err(FwCfgError::BadName { name: owned() });
        }
        check_size(name, &bytes)?;
        let Err(place) = self.find(name) else {
            return Err(FwCfgError::NameTaken { name: owned() });
        };
        if self.files.len() >= FILE_SLOTS.into() {
            return Err(FwCfgError::TooManyFiles {
                name: owned(),
                most: FILE_SLOTS,
            });
        }
        let item = Item {
            data: Arc::new(bytes),
            written,
        };
        self.files.insert(place, (owned(), item));
        self.write_directory();
        Ok(())
    }

    pub(super) fn modify_file(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), FwCfgError> {
        check_size(name, &bytes)?;
        let place = self.find(name).map_err(|_| FwCfgError::NoSuchFile {
            name: name.to_owned(),
        })?;
        self.files[place].1.data = Arc::new(bytes);
        self.write_directory();
        Ok(())
    }

    pub(super) fn numbered(&self, key: FwCfgKey) -> Option<Vec<u8>> {
        Some(self.numbered.get(&key.0)?.data.to_vec())
    }

    pub(super) fn file(&self, name: &str) -> Option<Vec<u8>> {
        let place = self.find(name).ok()?;
        Some(self.files[place].1.data.to_vec())
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.files.binary_search_by(|(other, _)| other.as_str().cmp(name))
    }

    /// All numbers in it have their highest byte first.
    fn write_directory(&mut self) {
        let mut directory = Vec::new();
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        directory.extend(number(self.files.len()));
        for (key, (name, item)) in (FILE_FIRST..).zip(&self.files) {
            directory.extend(number(item.data.len()));
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let mut field = [0; NAME_BYTES];
            field[..name.len()].copy_from_slice(name.as_bytes());
            directory.extend(field);
        }
        self.set(FwCfgKey::FILE_DIR, directory);
    }

    /// The guest selects a key. One beyond the last file that there could be leaves nothing selected.
    pub(super) fn select(&mut self, key: u16) {
        let key = key & !WRITE_CHANNEL;
        self.cursor = Cursor {
            key: (key & INDEX_MASK < FILE_FIRST + FILE_SLOTS).then_some(key),
            offset: 0,
            selections: self.cursor.selections.wrapping_add(1),
        };
    }

    /// What is selected, and the next byte of it. An item that nobody added is an empty one.
    pub(super) fn selected(&self) -> (Cursor, Option<&Item>) {
        let item = self.cursor.key.and_then(|key| match key.checked_sub(FILE_FIRST) {
            Some(place) if key & INDEX_MASK == key => self.files.get(usize::from(place)).map(|file| &file.1),
            _ => self.numbered.get(&key),
        });
        (self.cursor, item)
    }

    /// The next byte of what is selected.
    pub(super) fn read_byte(&mut self) -> u8 {
        let (Cursor { offset, .. }, item) = self.selected();
        let Some(&byte) = item.and_then(|item| item.data.get(offset)) else {
            return 0;
        };
        self.cursor.offset += 1;
        byte
    }

    /// Moves on by `bytes`, unless somebody else moved or selected since `from`.
    pub(super) fn advance(&mut self, from: Cursor, bytes: usize) {
        if self.cursor == from {
            self.cursor.offset += bytes;
        }
    }

    /// The guest writes `bytes` to where `cursor` is. Fails if the file is not what it was.
    pub(super) fn write(&mut self, cursor: Cursor, bytes: &[u8]) -> Option<()> {
        let place = cursor.key?.checked_sub(FILE_FIRST)?;
        let data = Arc::make_mut(&mut self.files.get_mut(usize::from(place))?.1.data);
        let end = cursor.offset.checked_add(bytes.len())?;
        data.get_mut(cursor.offset..end)?.copy_from_slice(bytes);
        Some(())
    }
}

/// An item's offset and size have 32 bits in the directory and in a DMA descriptor.
fn check_size(name: &str, bytes: &[u8]) -> Result<(), FwCfgError> {
    match u32::try_from(bytes.len()) {
        Ok(_) => Ok(()),
        Err(_) => Err(FwCfgError::TooLarge {
            name: name.to_owned(),
            size: bytes.len(),
        }),
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self
            .files
            .iter()
            .map(|(name, item)| (name.as_str(), item.data.len()));
        f.debug_struct("Items")
            .field("files", &files.collect::<Vec<_>>())
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

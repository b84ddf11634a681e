use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::{
    fs::{Mode, OFlags, fchmod, fstat},
    io::Errno,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    beneath::Links,
    change::Expect,
    error::{Error, Expected, State},
    hash::Hash,
    list::Kind,
    place::Place,
    read,
    root::{READ, Root, kind, open_name, regular, size},
};

/// What was at a path before a change, enough to take the change back.
///
/// Changes are taken back newest first. That of a moved folder, whose content no image holds, is taken back by moving
/// it back. Modes are the nine permission bits; times, owners and other names of a file are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Image {
    /// Nothing.
    Absent,
    /// A folder; what is in it has images of its own.
    Folder {
        /// Its permission bits.
        mode: u32,
    },
    /// A file.
    File {
        /// Its permission bits.
        mode: u32,
        /// Hash of its content.
        hash: Hash,
        /// Its content; base64 where it is stored.
        #[serde(serialize_with = "encode", deserialize_with = "decode")]
        content: Vec<u8>,
    },
}

fn encode<S: Serializer>(content: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(content))
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
}

impl Root {
    /// What is at a path now. No link is followed.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a file above [`Limits::image_bytes`](crate::Limits::image_bytes), which could not be
    /// taken back; [`Error::Link`], [`Error::Kind`].
    pub fn before(&self, path: &str) -> Result<Image, Error> {
        let place = Place::below(path)?;
        let looked =
            self.resolve(place.text(), OFlags::PATH, Links::Refused).and_then(|fd| fstat(&fd));
        let stat = match looked {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Image::Absent),
            Err(error) => return Err(Error::system(path, "looking at it", error)),
        };
        match kind(&stat) {
            Kind::Folder => Ok(Image::Folder { mode: stat.st_mode & 0o777 }),
            Kind::File => self.file_image(place),
            found => Err(Error::Kind { path: path.to_owned(), found, wanted: Kind::File }),
        }
    }

    fn file_image(&self, place: Place<'_>) -> Result<Image, Error> {
        let path = place.text();
        let fd = self
            .resolve(path, READ, Links::Refused)
            .map_err(Error::io(path, "opening the file"))?;
        let (mut file, stat) = regular(path, fd)?;
        let most = self.limits().image_bytes;
        if size(&stat) > most {
            let what = "a before-image in bytes";
            return Err(Error::TooLarge { path: path.to_owned(), what, size: size(&stat), most });
        }
        let content = read::whole(path, &mut file, most)?;
        Ok(Image::File { mode: stat.st_mode & 0o777, hash: Hash::of(&content), content })
    }

    /// Makes a path what it was. `expect` says what the change left there: whatever else is there stays.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where something else is there; [`Error::NotEmpty`]; otherwise as [`Root::write`].
    pub fn restore(&self, path: &str, image: &Image, expect: Expect) -> Result<(), Error> {
        let place = Place::below(path)?;
        match image {
            Image::Absent => match (self.remove(path, expect), expect) {
                (
                    Err(Error::Absent { .. } | Error::NoFolder { .. }),
                    Expect::Any | Expect::Absent,
                ) => Ok(()),
                (done, _) => done,
            },
            Image::Folder { mode } => self.restore_folder(place, *mode, expect),
            Image::File { mode, hash, content } => {
                if Hash::of(content) != *hash {
                    return Err(Error::Pattern {
                        what: "a before-image of",
                        text: path.to_owned(),
                        problem: "its content does not have its hash".to_owned(),
                    });
                }
                self.put(place, content, Some(*mode), expect).map(|_| ())
            }
        }
    }

    fn restore_folder(&self, place: Place<'_>, mode: u32, expect: Expect) -> Result<(), Error> {
        let path = place.text();
        match (self.before(path)?, expect) {
            (Image::Absent, Expect::Absent | Expect::Any) => self.make_folder(path)?,
            (Image::Folder { .. }, Expect::Any) => {}
            (found, _) => {
                let found = match found {
                    Image::Absent => State::Absent,
                    Image::Folder { .. } => State::Kind(Kind::Folder),
                    Image::File { hash, .. } => State::Hash(hash),
                };
                let expected = match expect {
                    Expect::Absent => Expected::Absent,
                    Expect::Hash(hash) => Expected::Hash(hash),
                    Expect::Any => Expected::Folder,
                };
                return Err(Error::Conflict { path: path.to_owned(), expected, found });
            }
        }
        let (folder, name) = self.lock(place)?;
        let what = "setting the mode of the folder";
        let fd = open_name(folder.fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(Error::io(path, what))?;
        fchmod(&fd, Mode::from_raw_mode(mode & 0o777)).map_err(Error::io(path, what))?;
        folder.sync()
    }
}

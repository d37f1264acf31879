/// What a stream may ask for. The defaults let pass all that Linux could hold and real images have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one extension header (pax records, a GNU long name): 1 MiB, as Go's `archive/tar` has it.
    pub extension: u64,
    /// Records in one pax header, those of a sparse file's map not counted.
    pub records: usize,
    /// Bytes of a path or of a hard link's target; more than `PATH_MAX`, which binds system calls and not file systems.
    pub path: usize,
    /// Bytes of a symbolic link's target: 4,095, the most that Linux makes.
    pub symlink: usize,
    /// Bytes of an extended attribute's name: 255, `XATTR_NAME_MAX`.
    pub xattr_name: usize,
    /// Bytes of an extended attribute's value: 64 KiB, `XATTR_SIZE_MAX`.
    pub xattr_value: usize,
    /// Bytes of all names and values of one entry.
    pub xattrs: usize,
    /// Pieces of data in one sparse file, 16 bytes of memory each.
    pub sparse: usize,
    /// Headers in the stream, those of extensions counted too.
    pub headers: u64,
    /// Bytes of one file, holes included.
    pub file: u64,
    /// Bytes of the whole stream.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            extension: 1 << 20,
            records: 4096,
            path: 64 << 10,
            symlink: 4095,
            xattr_name: 255,
            xattr_value: 64 << 10,
            xattrs: 512 << 10,
            sparse: 64 << 10,
            headers: 10_000_000,
            file: 1 << 40,
            total: 1 << 40,
        }
    }
}

//! What must hold for any bytes. The fuzz targets look for bytes for which it does not; `make test` asks the
//! same of every file below `tests/corpus`.

mod config;
mod pem;
mod portal;
mod shown;
mod vhosts;

pub use config::config;
pub use pem::pem;
pub use portal::portal;
pub use vhosts::vhosts;

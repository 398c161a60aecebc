//! The calls of `httpapi.dll`, looked up at run time: not every Windows has all of them, or the file.

use std::ffi::{CStr, c_void};
use std::mem::transmute;
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{FARPROC, HANDLE};
use windows_sys::Win32::Networking::HttpServer::{HTTP_INITIALIZE, HTTP_SERVICE_CONFIG_ID, HTTPAPI_VERSION};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_WITH_ALTERED_SEARCH_PATH, LoadLibraryExW,
};

use super::super::super::failure::{Failure, NOT_THERE};
use super::super::wide;

type Any = unsafe extern "system" fn() -> isize;
type Initialize = unsafe extern "system" fn(HTTPAPI_VERSION, HTTP_INITIALIZE, *mut c_void) -> u32;
type Terminate = unsafe extern "system" fn(HTTP_INITIALIZE, *mut c_void) -> u32;
type Change =
    unsafe extern "system" fn(HANDLE, HTTP_SERVICE_CONFIG_ID, *const c_void, u32, *mut OVERLAPPED) -> u32;
type Query = unsafe extern "system" fn(
    HANDLE,
    HTTP_SERVICE_CONFIG_ID,
    *const c_void,
    u32,
    *mut c_void,
    u32,
    *mut u32,
    *mut OVERLAPPED,
) -> u32;

/// The library stays loaded.
pub struct Calls {
    pub initialize: Initialize,
    pub terminate: Terminate,
    pub query: Query,
    pub set: Change,
    pub delete: Change,
    /// Since Server 2019.
    pub update: Option<Change>,
}

impl Calls {
    /// Of a file by its whole path: nothing of that name in another folder is loaded in its place.
    pub fn load(dll: &Path) -> Result<Self, Failure> {
        let path = wide(dll);
        // SAFETY: the path ends with a zero.
        let library = unsafe { LoadLibraryExW(path.as_ptr(), null_mut(), LOAD_WITH_ALTERED_SEARCH_PATH) };
        if library.is_null() {
            return Err(NOT_THERE);
        }
        let look_up = |name: &CStr| -> FARPROC {
            // SAFETY: the library stays loaded, and the name ends with a zero.
            unsafe { GetProcAddress(library, name.as_ptr().cast()) }
        };
        let must = |name: &CStr| look_up(name).ok_or(NOT_THERE);
        // SAFETY: each has the form that Windows's documentation gives it.
        unsafe {
            Ok(Self {
                initialize: transmute::<Any, Initialize>(must(c"HttpInitialize")?),
                terminate: transmute::<Any, Terminate>(must(c"HttpTerminate")?),
                query: transmute::<Any, Query>(must(c"HttpQueryServiceConfiguration")?),
                set: transmute::<Any, Change>(must(c"HttpSetServiceConfiguration")?),
                delete: transmute::<Any, Change>(must(c"HttpDeleteServiceConfiguration")?),
                update: transmute::<FARPROC, Option<Change>>(look_up(c"HttpUpdateServiceConfiguration")),
            })
        }
    }
}

//! What Windows says by numbers, for people.

use crate::problem::Problem;

/// A call that did not do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure(pub u32);

/// `ERROR_CALL_NOT_IMPLEMENTED`: this Windows does not have the call at all.
pub const NOT_THERE: Failure = Failure(120);

impl Failure {
    /// The plain number where it came wrapped as an `HRESULT` (`0x8007…`).
    pub fn number(self) -> u32 {
        match self.0 >> 16 {
            0x8007 => self.0 & 0xffff,
            _ => self.0,
        }
    }

    /// With code and remedy; `doing` is what was tried, as "the record of 0.0.0.0:443 cannot be changed".
    pub fn problem(self, doing: &str) -> Problem {
        let (code, why, remedy) = match self.number() {
            2 => ("windows", "it is not there any more", "nothing: certhook looks again and plans anew"),
            5 => (
                "not_allowed",
                "this user may not do that",
                "run certhook as a service, or in an elevated prompt",
            ),
            32 => (
                "file_in_use",
                "another program has the file open",
                "nothing, if that ends soon; else see which program it is",
            ),
            86 => (
                "wrong_password",
                "the password does not open the PFX, or it is sealed by AES and this Windows (as Server 2016) knows 3DES only",
                "see the password; else seal the PFX by TripleDES-SHA1",
            ),
            183 => ("windows", "it is there already", "nothing: certhook looks again and plans anew"),
            1312 => (
                "key_unusable",
                "the certificate's private key cannot be used: it was not kept for the machine, or may not be read",
                "import the certificate for the local machine, and let SYSTEM read its key",
            ),
            _ => ("windows", "Windows refuses it", "look the number up, and see the system's event log"),
        };
        let number = if self.0 > 0xffff { format!("{:#010x}", self.0) } else { self.0.to_string() };
        Problem::new(code, format!("{doing}: {why} (error {number})"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_words_however_it_is_wrapped() {
        for (number, code) in [
            (1312, "key_unusable"),
            (0x8007_0520, "key_unusable"),
            (86, "wrong_password"),
            (0x8007_0056, "wrong_password"),
            (183, "windows"),
            (32, "file_in_use"),
            (5, "not_allowed"),
            (0x8007_0005, "not_allowed"),
            (0x8009_0016, "windows"),
            (87, "windows"),
        ] {
            assert_eq!(Failure(number).problem("x").code, code, "{number}");
        }
        let words = Failure(0x8007_0520).problem("it cannot be bound").to_string();
        assert!(words.starts_with("it cannot be bound: ") && words.contains("0x80070520"), "{words}");
    }
}

//! The write-ahead log.

use super::*;

fn log_size(folder: &TempDir) -> u64 {
    std::fs::metadata(folder.path().join("ledger.db-wal")).unwrap().len()
}

#[test]
fn log_stays_small_and_is_emptied_at_rest() {
    let (folder, ledger) = new();
    let mut largest = 0;
    for number in 0..600 {
        ledger.note(&Entry::new(at(number), "a", "problem").saying("x".repeat(500))).unwrap();
        largest = largest.max(log_size(&folder));
    }
    // One more transaction may be beyond it.
    assert!(largest < 2 * u64::from(MOST_LOG), "{largest}");
    assert!(log_size(&folder) > 0);
    ledger.rest();
    assert_eq!(log_size(&folder), 0);
    // While somebody else reads it stays, and nobody waits for that.
    ledger.note(&Entry::new(at(1), "a", "problem")).unwrap();
    let mut reader = Connection::open(Ledger::path(folder.path())).unwrap();
    let reading = reader.transaction().unwrap();
    let _: u32 = reading.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
    ledger.note(&Entry::new(at(2), "a", "problem")).unwrap();
    ledger.rest();
    assert!(log_size(&folder) > 0);
    reading.finish().unwrap();
    ledger.rest();
    assert_eq!((log_size(&folder), count(&ledger, "history")), (0, 602));
}

"""Translation of SQLAlchemy errors into our own, which say what to do."""

from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError, StatementError

from portrait.registry.errors import Conflict, InvalidInput, PortraitError, RegistryBehind, RegistryMissing, Unavailable

# The primary result codes of SQLite that are about the machine, not about our SQL.
_SQLITE = {
    "SQLITE_BUSY": "is locked by another process: wait for it, or end it, and try again",
    "SQLITE_LOCKED": "is locked by another process: wait for it, or end it, and try again",
    "SQLITE_READONLY": "cannot be written: check who owns the file and its folder, and that the disk is not read-only",
    "SQLITE_CANTOPEN": "cannot be opened: check that its folder exists and that you may read and write there",
    "SQLITE_PERM": "cannot be opened: check that you may read and write the file",
    "SQLITE_IOERR": "met a disk error: check the disk and the space left on it",
    "SQLITE_FULL": "does not fit on the disk: free some space",
    "SQLITE_CORRUPT": "is damaged: restore it from a backup",
    "SQLITE_NOTADB": "is not a SQLite database: point PORTRAIT_HOME or PORTRAIT_REGISTRY_URL elsewhere",
}
_POSTGRES_RETRY = {"40001", "40P01", "55P03"}  # serialisation failure, deadlock, lock not available
_POSTGRES_READ_ONLY = "25006"


def translate(error: StatementError, shown_url: str) -> PortraitError | None:
    """The error of our own tree for `error`; None for a mistake in our own SQL, which must surface as it is."""
    origin = error.orig
    if isinstance(origin, PortraitError):  # raised by a column type
        return origin
    message = " ".join(str(origin).split())
    where = f"the registry at {shown_url}"
    if isinstance(error, IntegrityError):
        return Conflict(f"{where} refused a change that contradicts another one: {message}")
    if isinstance(error, DataError):
        return InvalidInput(f"{where} cannot store this value: {message}")
    return _sqlite(origin, where, message) or _postgres(error, where, message)


def _sqlite(origin: BaseException | None, where: str, message: str) -> PortraitError | None:
    code = getattr(origin, "sqlite_errorname", None)
    if code is None:
        return None
    for primary, meaning in _SQLITE.items():
        if code.startswith(primary):  # extended codes: SQLITE_IOERR_WRITE
            return Unavailable(f"{where} {meaning} ({message})")
    return _schema(where, message, table="no such table" in message, column="no such column" in message)


def _postgres(error: StatementError, where: str, message: str) -> PortraitError | None:
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRES_RETRY:
        return Conflict(f"{where} let somebody else go first: try again ({message})")
    if state == _POSTGRES_READ_ONLY:
        return Unavailable(f"{where} is read-only: point PORTRAIT_REGISTRY_URL at the primary server ({message})")
    if isinstance(error, OperationalError | InterfaceError) and not hasattr(error.orig, "sqlite_errorname"):
        return Unavailable(f"{where} does not answer: {message}")
    return _schema(where, message, table=state in ("42P01", "3F000"), column=state == "42703")


def _schema(where: str, message: str, *, table: bool, column: bool) -> PortraitError | None:
    if table:
        return RegistryMissing(f"{where} has no tables of ours: run `portrait apply` first ({message})")
    if column:
        return RegistryBehind(f"{where} is behind this code: run `portrait apply` ({message})")
    return None
